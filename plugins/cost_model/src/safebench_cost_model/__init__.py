"""Cost models for safebench: below 0 is safe, and more is worse."""
