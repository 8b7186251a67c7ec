"""One self-contained HTML page of a result: tables that sort, figures, charts that zoom; it loads nothing."""
