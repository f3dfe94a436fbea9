"""The outside world: PSPs with an honest memory and dishonest networks. It imports none of the other packages."""
