"""The console: the web application for those who decide whom to call, and prove afterwards that it paid.

Here are its pages, who may see them, and the record of who did what. It computes nothing: its figures are
those of the views in the schema `retention`, each shown as the view has it, and a plan is worked out by
`churn.scoring`. What they are made from belongs to the stages in `churn`; a door for programs is `api`.
"""
