"""Dead letters in operators' hands: chosen by what was typed, replayed at a pace, shown, put back from Kafka."""
