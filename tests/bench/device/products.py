"""The products of a calibration through cuBLASLt (torch), for as long as the calibration takes.

Short bursts find the GPU cool; here its clocks are those of a run. products.py LAYERS TOKENS BATCH
SHAPE: of each layer the seven linear products on BATCH tokens, bf16 with random values, TOKENS / BATCH
times, in the order of a forward. One JSON line: seconds on the device, TFLOP/s.
"""
import json
import sys

import torch

layers, tokens, batch = (int(word) for word in sys.argv[1:4])
hidden, ffn, heads, kv_heads, _ = (int(word) for word in sys.argv[4].split(","))
kv = hidden // heads * kv_heads


def random(*shape):
    return torch.randn(*shape, device="cuda", dtype=torch.bfloat16)


outputs = [(hidden, hidden), (hidden, kv), (hidden, kv), (hidden, hidden), (hidden, ffn), (hidden, ffn), (ffn, hidden)]
weights = [random(n, k) * 0.02 for k, n in outputs]
inputs = {width: random(batch, width) for width in (hidden, ffn)}
results = {n: random(batch, n) for _, n in outputs}


def forward():
    for weight in weights:
        n, k = weight.shape
        torch.mm(inputs[k], weight.t(), out=results[n])


forward()
torch.cuda.synchronize()
begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
begin.record()
for _ in range(layers * (tokens // batch)):
    forward()
end.record()
torch.cuda.synchronize()
seconds = begin.elapsed_time(end) / 1e3
flops = 2 * tokens * layers * sum(k * n for k, n in outputs)
print(json.dumps({"limit": "products_sustained", "seconds": round(seconds, 3), "tflops": round(flops / seconds / 1e12, 1)}))
