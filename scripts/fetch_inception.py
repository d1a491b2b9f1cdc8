"""Puts the weights of the FID Inception network into the cache, as safetensors.

python scripts/fetch_inception.py                  # downloads the PyTorch port (needs PyTorch)
python scripts/fetch_inception.py --from FILE      # .pth, TensorFlow's .pb, or .safetensors
"""

import hashlib
import pathlib
import tempfile
import urllib.error
import urllib.request

from absl import flags
from tqdm import tqdm

from drifting import cli
from drifting.pretrained import files, inception
from drifting.pretrained.files import WeightsError

FROM = flags.DEFINE_string("from", None, "File to use instead of a download")
SHA256 = flags.DEFINE_string("sha256", None, "Expected beginning of the file's SHA-256")
OUT = flags.DEFINE_string("out", None, "Output file; the cache of evaluation if not given")


def download(url: str, folder: pathlib.Path) -> pathlib.Path:
    """Downloads a file into a folder, with a progress bar.

    Raises:
      WeightsError: it cannot be downloaded.
    """
    path = folder / url.rpartition("/")[2]
    try:
        with urllib.request.urlopen(url, timeout=30) as answer, open(path, "wb") as file:
            total = int(answer.headers.get("Content-Length") or 0) or None
            with tqdm(total=total, unit="B", unit_scale=True, desc=path.name) as bar:
                while chunk := answer.read(2**20):
                    file.write(chunk)
                    bar.update(len(chunk))
    except (urllib.error.URLError, OSError) as error:
        raise WeightsError(
            f"cannot download {url}: {error}. Download it elsewhere and run "
            "`python scripts/fetch_inception.py --from FILE`"
        ) from error
    return path


def require_hash(path: pathlib.Path, beginning: str) -> None:
    """Raises WeightsError unless the file's SHA-256 starts with `beginning`."""
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(beginning.lower()):
        raise WeightsError(
            f"{path} has SHA-256 {found}, expected {beginning}...: it is damaged; download it again"
        )


def main(_):
    with tempfile.TemporaryDirectory() as folder:
        if FROM.value:
            path, expected = pathlib.Path(FROM.value), SHA256.value
        else:
            path = download(inception.URL, pathlib.Path(folder))
            expected = SHA256.value or inception.URL_SHA256_PREFIX
        if expected and path.is_file():
            require_hash(path, expected)
        state = inception.read(path)
    out = pathlib.Path(OUT.value or inception.default_path())
    files.write(state, out)
    print(f"{out}\nSHA-256 of the parameters: {inception.digest(inception.to_params(state))}")


if __name__ == "__main__":
    cli.run(main)
