"""Dead letters on the command line: chosen by options, replayed at a rate, shown, restored from Kafka."""
