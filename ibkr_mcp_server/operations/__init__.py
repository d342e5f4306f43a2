"""What the product can do, by family, in words of `domain/`: no MCP, HTTP or client-library types here."""
