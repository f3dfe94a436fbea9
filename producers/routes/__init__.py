"""One module for each part of the API's reading side."""
