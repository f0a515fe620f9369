"""The kinds of entries that corekit itself builds; a project declares its own in the same way."""

from corekit.registry import declare_kind

declare_kind("model", "an nn.Module whose forward asks for batch entries by name and gives a mapping of outputs")
declare_kind("loss", "a callable that asks for outputs and batch entries by name and gives named parts")
declare_kind("dataset", "samples in shards, each read and decoded by its number")
declare_kind("sampler", "which samples make the batch of a step, and of what size their pictures are")
declare_kind("transform", "what is done to a sample before it is put in a batch")
declare_kind("tokenizer", "captions in, token ids out")
declare_kind("optimizer", "a torch.optim.Optimizer over a model's parameters")
declare_kind("schedule", "the learning rate and weight decay of a step")
declare_kind("evaluator", "measures a model, such as its zero-shot accuracy")
declare_kind("converter", "other people's weights to model folders and back, for corekit convert")
declare_kind("job", "work over all shards of a data set, for corekit data")
declare_kind("command", "a command of its own under corekit data")
declare_kind("head", "which rows of a trained head a class of the new head starts from, for init.head")
