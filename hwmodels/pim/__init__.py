"""Memory that computes: banks, bank groups or the logic die multiply what they read."""
