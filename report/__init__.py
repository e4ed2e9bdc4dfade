"""The answer, on paper and screen: options, tables, files and figures."""
