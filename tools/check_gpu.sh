#!/bin/sh
# What only a GPU can show, in one go: the quickstart in every precision, compiled and recomputed,
# killed and continued; the engine's cost at MobileCLIP-S2's size; towers, steps and latency against
# open_clip; AIMv2's masks, steps, encoder and probes; conversations padded and packed; a step of
# CatLIP against CLIP's. Results go to the folder given, or gpu/ here. With corekit's environment
# active:
#
#   sh tools/check_gpu.sh [FOLDER]
set -u
out=${1:-gpu}
mkdir -p "$out"
failed=0

try() { # NAME COMMAND...: runs it, keeps what it says, and says how it ended
    name=$1
    shift
    begin=$(date +%s)
    "$@" >"$out/$name.txt" 2>&1
    status=$?
    [ $status = 0 ] || failed=1
    echo "$name: status $status, $(($(date +%s) - begin)) s"
    grep -E 'top1|exact_match|equal|engine /|bare loop| x \(|MiB' "$out/$name.txt" | tail -n 8
}

quickstart='+recipe=mobileclip/quickstart engine.device=cuda engine.steps=200 data.workers=8'
for precision in fp32 bf16 fp16; do
    try "$precision" corekit-train $quickstart "engine.precision=$precision" \
        "run_dir=$out/runs/$precision"
done
try compiled corekit-train $quickstart engine.precision=bf16 engine.compile=true \
    "run_dir=$out/runs/compiled"
try recomputed corekit-train $quickstart engine.activation_checkpointing=true \
    "run_dir=$out/runs/recomputed"
try resume python tools/check_resume.py --kills 5
size='model.name=mobileclip_s2 model.context_length=77 data.preprocess.size=256'
try engine_s2 python tools/benchmark_engine.py --steps 10 $size engine.precision=bf16 \
    engine.device=cuda engine.batch_size=256 engine.micro_batch=256
for precision in fp32 bf16; do
    try "towers_$precision" python tools/benchmark_towers.py --device cuda --precision "$precision"
    for model in mobileclip_s1 mobileclip_b; do
        try "step_${model}_$precision" python tools/benchmark_step.py "$model" --device cuda \
            --batch-size 64 --precision "$precision" --limit 1.1 --limit-memory 0.9
    done
    try "latency_$precision" python tools/benchmark_latency.py --device cuda \
        --precision "$precision"
done
try prefixes python -m pytest tests/projects/aimv2/test_aimv2_pretrain.py -k backends
try prefix python tools/benchmark_step.py aimv2 --device cuda --precision bf16 --compile \
    --batch-size 64
try encoder python tools/benchmark_towers.py --models aimv2_large_224 --limit 1 --device cuda \
    --precision bf16
try probe python tools/benchmark_probe.py --probe attentive --device cuda
talk='+recipe=aimv2/multimodal_quickstart engine.device=cuda engine.precision=bf16 data.workers=8'
try padded corekit-train $talk "run_dir=$out/runs/padded"
for attention in sdpa flex_attention; do
    try "packed_$attention" corekit-train $talk model.packed=true "model.attention=$attention" \
        "run_dir=$out/runs/packed_$attention"
done
try catlip python tools/benchmark_step.py catlip --device cuda --precision bf16 --batch-size 64
exit $failed
