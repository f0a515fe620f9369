"""The kinds of entries that corekit itself builds; a project declares its own in the same way."""

from corekit.registry import declare_kind

declare_kind("model", "a module that asks for batch entries by name and gives named outputs")
declare_kind("loss", "a callable that asks for outputs and batch entries by name")
declare_kind("dataset", "samples in shards, each read and decoded by its number")
declare_kind("sampler", "which samples make the batch of a step, and at what image size")
declare_kind("field", "what a sample holds under a name: how it is decoded, batched and moved")
declare_kind("transform", "what is done to a sample before it is put in a batch")
declare_kind("tokenizer", "captions in, token ids out")
declare_kind("optimizer", "a torch.optim.Optimizer over a model's parameters")
declare_kind("schedule", "what the learning rate of a step is multiplied by")
declare_kind("evaluator", "a measurement of a model, such as its zero-shot accuracy")
declare_kind("task", "how a set of an evaluation suite is predicted, and its figures")
declare_kind("converter", "other people's weights to model folders and back: corekit convert")
declare_kind("job", "work over all shards of a data set: corekit data")
declare_kind("command", "a command of its own: corekit data")
declare_kind("head", "where the rows of a head for new classes come from: init.head")
declare_kind("reference", "published figures of models, beside which a suite is printed")
