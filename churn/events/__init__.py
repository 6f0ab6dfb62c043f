"""What those who run the system are told: events kept in Postgres, and sent to a webhook, Slack or mail.

Here is what an event is, how it is kept in the transaction of what it tells, and how it is sent. Which stage
tells what stands in that stage; when sending is due is asked by the sensor `events` of `churn_assets`. No
event names a user: they carry months, counts, and ids of lists and releases.
"""
