"""What people and other programs see of a run. Nothing here asks a question or changes a score.

comparison     two candidates question by question: what differs, how sure that is, where, and which questions flipped
standings      many candidates, each beside the first
table  leaderboard  comparison_table  sheet
               at a terminal: one candidate, many, two, and everything about one question
view           what stands on the page, worked out; with scatter, risk, fall, manifest and verdict for its parts
page           the same as one HTML file: templates/, and the questions as JSON (embedded)
markdown  junit  comparison_json
               for a pull request, a build server, a program
trec  spreadsheet  ragas
               files for other tools
layout  figures  legible  charts
               columns, numbers, texts that hide nothing, places of marks in a drawing
"""
