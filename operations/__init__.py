"""People's hands: commands (cli), the audit (auditor), servers and processes (stack), benchmarks (bench), made pages (pages)."""
