"""What a TradingView delivery goes through, stage by stage.

| stage | module | takes | gives |
|---|---|---|---|
| receive | `receive` (text forms: `body`) | body and headers | `Delivery`, or `Ended`; no database |
| look up | `lookup` | what the delivery names | `Found`: the stored rows |
| decide | `decide` (values and key: `normalize`) | `Delivery` and `Found` | `Signal` with the values of its rows, or `Ended`; pure |
| store | `store` | `Signal` | `Stored`, or the `Duplicate` whose copy the signal is |
| dispatch | `dispatch` | `Signal` and `Stored` | the answer; the execution of an AUTO order |

`door` leads deliveries through the stages: what waits together is looked up together and stored in one transaction.
`settings` holds what an operator stores for the webhook.
"""
