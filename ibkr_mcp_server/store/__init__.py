"""All durable state in one database: intents, latches, attempts and the audit log. Imports nothing by itself."""
