"""Status changes of payments, told to the services that asked: signed, in order, again until they are heard."""
