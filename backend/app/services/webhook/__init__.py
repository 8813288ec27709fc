"""What a TradingView delivery goes through, stage by stage.

| stage | module | takes | gives |
|---|---|---|---|
| receive | `receive` (text forms: `body`) | body and headers | `Delivery`, or `Ended`; no database |
| look up | `lookup` | what the delivery names | `Found`: the stored rows |
| decide | `decide` (values and key: `normalize`) | `Delivery` and `Found` | `Signal` with the values of its rows, or `Ended`; pure |
| store | `store` | `Signal` | `Stored`, or the `Duplicate` whose copy the signal is |
| dispatch | `dispatch` | `Signal` and `Stored` | the answer; the execution of an AUTO order |

`intake` leads one delivery through the stages. `store.insert_rows` and `store.insert_copy` leave the commit to
their caller, so that one transaction can hold the rows of several deliveries. `settings` holds what an
operator stores for the webhook.
"""
