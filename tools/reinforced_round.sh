#!/bin/sh
# The whole round of reinforced training on a CPU, in runs/round: two teachers, scenes reinforced
# once, a student, its figures as trained, fused and exported. With corekit's environment active
# (pip install -e '.[demo,export]'); some 15 minutes on two cores. Arguments are passed on to the
# three trainings: sh tools/reinforced_round.sh engine.steps=100
set -e
out=runs/round
for seed in 1 2; do
    corekit-train +recipe=mobileclip/quickstart seed=$seed data.dataset.seed=$seed \
        run_dir=$out/teacher_$seed "$@"
done
corekit data openmoji $out/scenes --samples 8000 --size 80 --objects 1 1
corekit data reinforce $out/scenes $out/reinforced \
    "teachers=[$out/teacher_1,$out/teacher_2]" keep=true --workers 2 \
    captioner.name=nearest_captions captioner.path=$out/teacher_1 captioner.candidates=$out/scenes \
    image_size=64 interpolation=bilinear 'scale=[0.4,1]'
corekit-train +recipe=mobileclip/reinforced_quickstart data.root=$out/reinforced \
    run_dir=$out/student "$@"
corekit-eval checkpoint=$out/student
corekit convert $out/student $out/fused --fuse
corekit-eval checkpoint=$out/fused
corekit export $out/student $out/onnx
corekit-eval checkpoint=$out/onnx
