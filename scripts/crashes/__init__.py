"""kill -9 at each step of the order path, many times: what must survive a crash does (QA-04)."""
