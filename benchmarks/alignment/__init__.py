"""Registration: accuracy on scans moved by known transforms, beside other engines."""
