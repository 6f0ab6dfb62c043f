"""What plays the whole system, or looks at all of the project: such tests belong to no one module."""
