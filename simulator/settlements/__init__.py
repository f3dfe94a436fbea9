"""What PSPs settle and banks state, as files: one model, and a writer for each format. Shares no code with who reads them."""
