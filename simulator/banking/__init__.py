"""A bank that is given files of credit transfers (pain.001) in a folder, and answers in files (pain.002) in another."""
