"""requests, executions, movements, journals → payments → orders to place, states: the state of each payment and its orders."""
