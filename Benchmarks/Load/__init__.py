"""What `make load` is made of: targets, scenarios, what one round reads, what is said of it."""
