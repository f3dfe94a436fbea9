"""The PSP port and its adapters: requests made, replies parsed, signatures checked. Only the executor sends."""
