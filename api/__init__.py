"""The HTTP shell: features, predictions and explanations of the newest published month.

What is read is `churn.online`; what scores, `churn.model`; what explains, `churn.scoring`. Checks that every
port of ours makes before a request is read are `churn.http_guard`. https://fastapi.tiangolo.com
"""
