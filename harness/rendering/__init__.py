"""What every report is made of: document model, HTML and Markdown, figures, messages.

Never trains, never changes a result.
"""
