"""The PSP port and its adapters: requests, reply parsing, signatures. Only the executor sends."""
