"""The page of a run directory, report.html: one file that needs no server and nothing from outside.

    run_files   what lies in the directory, whatever is missing, damaged or of another version
    data_card   what the dataset's manifest says
    summary     how far the run is, what it was asked for, what can be done next
    curves      plots of statistics and metrics, as SVG
    alerts      what the user should know, in words
    report      puts it together by page.html (Jinja), page.css and page.js, and writes it

Needs no TensorFlow.
"""
