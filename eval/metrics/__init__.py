"""What is measured. Pure functions of ranked ids, texts, decisions and durations: no pipeline, no files, no clock."""
