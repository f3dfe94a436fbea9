"""What every page of the audit needs: reading, looking again, what is on its way, verdicts. It knows no flow of money."""
