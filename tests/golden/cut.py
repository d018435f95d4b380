#!/usr/bin/env python3
"""Makes this folder's models from the full golden set: cut.py FULL_SET.

models/llama_tied is copied. modelopt/llama_layer0 is modelopt/llama with its second layer left out; what the
original wrote for the first layer does not depend on the second. Tensors that an export only copies are left
out of every export, and of fp8 all weights but two.
"""
import json, os, shutil, struct, sys

full = sys.argv[1]
here = os.path.dirname(os.path.abspath(__file__))


def read(path):
    data = open(path, "rb").read()
    n = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + n])
    header.pop("__metadata__", None)
    begin = 8 + n
    return {k: (v["dtype"], v["shape"], data[begin + v["data_offsets"][0]:begin + v["data_offsets"][1]])
            for k, v in header.items()}


def write(path, tensors):
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, (dtype, shape, raw) in sorted(tensors.items()):
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    open(path, "wb").write(struct.pack("<Q", len(text)) + text + data)


def copy(*names):
    for name in names:
        target = os.path.join(here, name.replace("modelopt/llama/", "modelopt/llama_layer0/"))
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copyfile(os.path.join(full, name), target)


presets = ("nvfp4", "fp8", "int4_wo", "mxfp4")
copy(*("models/llama_tied/" + f for f in ("config.json", "model.safetensors", "expected.safetensors")))
copy("modelopt/llama/calib.safetensors",
     *(f"modelopt/llama/{d}/{f}" for d in presets for f in ("config.json", "hf_quant_config.json")))

cut = os.path.join(here, "modelopt/llama_layer0")
os.makedirs(os.path.join(cut, "source"), exist_ok=True)
config = json.load(open(os.path.join(full, "modelopt/llama/source/config.json")))
config["num_hidden_layers"] = 1
json.dump(config, open(os.path.join(cut, "source/config.json"), "w"), indent=1)
source = read(os.path.join(full, "modelopt/llama/source/model.safetensors"))
source = {k: v for k, v in source.items() if ".layers.1." not in k}
write(os.path.join(cut, "source/model.safetensors"), source)
for name in presets:
    export = read(os.path.join(full, "modelopt/llama", name, "model.safetensors"))
    keep = {k: v for k, v in export.items() if ".layers.0." in k and source.get(k) != v}
    if name == "fp8":
        keep = {k: v for k, v in keep.items() if k.endswith("_scale") or "k_proj" in k or "v_proj" in k}
    write(os.path.join(cut, name, "model.safetensors"), keep)
