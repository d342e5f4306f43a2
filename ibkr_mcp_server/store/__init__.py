"""All durable state in one database: intents, latches, operator attempts and the audit log. Imports nothing by itself."""
