"""Door 1: the MCP server. Turns tool calls into operations and their answers into results; decides nothing."""
