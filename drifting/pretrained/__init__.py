"""Networks trained elsewhere: their weight files, converted to the networks of models/."""
