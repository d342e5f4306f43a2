"""Door 2: HTTP for operators and their alarms. Everything here can stop trading; nothing here alone can resume it."""
