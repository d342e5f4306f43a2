"""Shows that no check is idle: with any single one disabled, a named test fails (QA-05)."""
