"""An MCP server through which an agent may trade at Interactive Brokers, and a human decides how far."""

__version__ = "0.1.0"
