"""Networks trained elsewhere: files of weights, and what they become here."""
