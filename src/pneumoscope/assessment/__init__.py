"""Assessment: a trained run or a bundle measured on a data set, with tables, figures and reports."""
