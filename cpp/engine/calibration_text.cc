// What a model reads to be calibrated: a little of everything that people give models, so that no kind of
// text finds its heads looked at from one side alone. About 1600 tokens; what is behind kCalibrationTokens is
// not read.
#include "engine/calibrate.h"

namespace spectralkv {

std::string_view calibration_text() {
  return R"text(The harbour lay quiet when Marta came down the stairs with two buckets of paint. Nobody had touched the old ferry since autumn, and the salt had eaten through the blue on its side until the wood showed grey. "You will need more than that," said the keeper, who had been watching her from the door of his hut. "Last year it took eleven buckets, and the weather was better." She laughed, put the buckets down on the stones, and asked him how long he thought it would take if both of them worked from morning to evening. He counted on his fingers. Four days, he said, or five, unless it rained.

It rained on the second day. They sat in the hut and drank tea, and he told her how the bridge had been planned in 1962, paid for twice, and never built. The council had the drawings still, in a drawer on the third floor, next to the letters of everybody who had complained.

import math
from collections import defaultdict


class Histogram:
    """Counts of values in bins of equal width."""

    def __init__(self, low: float, high: float, bins: int = 10) -> None:
        if not low < high:
            raise ValueError(f"expected low < high, got {low} and {high}")
        self.low, self.high = low, high
        self.counts = [0] * bins
        self.outside = defaultdict(int)

    def add(self, value: float) -> None:
        position = (value - self.low) / (self.high - self.low) * len(self.counts)
        index = math.floor(position)
        if 0 <= index < len(self.counts):
            self.counts[index] += 1
        else:
            self.outside["below" if index < 0 else "above"] += 1

    def mean(self) -> float:
        total = sum(self.counts)
        width = (self.high - self.low) / len(self.counts)
        return sum((i + 0.5) * width * n for i, n in enumerate(self.counts)) / total + self.low


for (size_t i = 0; i < rows; i++) {
    const float *src = input + i * stride;
    float sum = 0.0f;
    for (size_t j = 0; j < cols; j++) sum += src[j] * weight[j];
    output[i] = sum > threshold ? sum : 0.0f;   /* keep what is large */
}

{"order": 48213, "customer": {"name": "Ada Okafor", "city": "Leeds"}, "items": [{"sku": "B-1107", "count": 3, "price": 12.50}, {"sku": "C-0042", "count": 1, "price": 199.99}], "paid": true, "note": null}

User: My tomato plants have yellow leaves at the bottom, but the top looks healthy. What should I do?
Assistant: Yellow leaves at the bottom are common and often harmless. Check three things:
1. Water: the soil should be moist two fingers deep, not wet. Too much water is the most frequent cause.
2. Food: older leaves turn yellow first when nitrogen is missing. A balanced fertiliser every two weeks helps.
3. Light and air: leaves that touch the ground get little of both. You can remove them with clean scissors.
If brown spots with rings appear, it may be early blight; then remove the leaves and do not compost them.
User: How much water do you mean per week?
Assistant: About 25 to 40 millimetres, that is 25 to 40 litres for each square metre, in two or three portions.

Die Kommission hat den Entwurf am Dienstag beraten. Sie hält die Frist von sechs Wochen für zu kurz, weil viele Gemeinden ihre Haushalte erst im März beschließen. Der Ausschuss bat deshalb darum, den Termin zu verschieben; eine Antwort steht noch aus.

Le marché ouvre à sept heures. On y trouve des fromages de chèvre, du pain de seigle et, en été, des abricots que les paysans apportent de la vallée. À midi, tout est rangé et la place redevient silencieuse.

La función devuelve una lista vacía si el archivo no existe. En otro caso lee cada línea, separa los campos por comas y comprueba que el primero sea un número.

春天来了,河边的柳树发了新芽。孩子们放学以后常常到那里去放风筝,老人们坐在长椅上下棋。図書館は午前九時に開きます。本を借りるには、受付でカードを作ってください。

Вечером они вернулись домой пешком, потому что последний автобус уже ушёл. 오늘은 날씨가 맑아서 산책하기 좋습니다. يفتح المتحف أبوابه كل يوم ما عدا الاثنين.

## 3.2 Results

Table 4 shows the error of each method on the held-out set. With a learning rate of 0.003 the loss falls from 2.41 to 1.87 in the first 500 steps, and to 1.52 after 4,000. The confidence intervals overlap for n < 30, so we cannot claim that method B is better there (p = 0.21). Let f(x) = x^2 - 3x + 2. Its roots are x = 1 and x = 2, since (x - 1)(x - 2) = x^2 - 3x + 2, and the minimum lies at x = 3/2, where f = -1/4.

| city | 2019 | 2020 | 2021 |
|------|-----:|-----:|-----:|
| Oslo | 18.2 | 17.9 | 19.4 |
| Porto | 24.6 | 25.1 | 24.8 |
| Kyoto | 27.3 | 27.0 | 26.5 |

SELECT c.name, COUNT(*) AS orders, SUM(o.total) AS revenue
FROM customers AS c JOIN orders AS o ON o.customer_id = c.id
WHERE o.created_at >= '2024-01-01' AND o.status <> 'cancelled'
GROUP BY c.name HAVING COUNT(*) > 5 ORDER BY revenue DESC LIMIT 20;

[2024-05-17 08:41:03] INFO  server: listening on 0.0.0.0:8080
[2024-05-17 08:41:09] WARN  pool: 12 of 16 connections in use
[2024-05-17 08:42:55] ERROR db: timeout after 30000 ms (query 7f3a9c), retrying (1/3)

<div class="card"><h2>Opening hours</h2><p>Monday to Friday, 9 am&ndash;5 pm. Closed on <b>public holidays</b>.</p></div>

Dear Mr Whitfield, thank you for your letter of 3 June. We have looked into the delay of your delivery and found that the parcel was held at customs for nine days because the form CN23 was not signed. We are sorry for the trouble. The parcel left Rotterdam yesterday and should reach you by Friday; you can follow it under the number RX 4471 9082 DE. As a small apology we have added a voucher of 15 euros to your account. Please let us know if anything is missing or damaged when it arrives.

Once, long before the road was made, a fox lived under the hill with her three young ones. Every night she went to the mill to see what the miller had thrown away, and every night the dog of the miller slept, or seemed to sleep, with one ear up. The youngest fox asked why she was never afraid. "Because I know what he wants," she said. "He wants to be left alone, just as we do." In the winter the mill stood still, the river froze from bank to bank, and the dog came up the hill by himself, thin and tired, and lay down at the mouth of the den.
)text";
}

}  // namespace spectralkv
