"""The forms of benchmarks whose answers are letters, or yes and no."""

from posixpath import basename, splitext

from corekit.data.datasets.questions.annotations import AnnotationFiles, Question, Questions

YES_OR_NO = " Please answer yes or no."  # in each of MME's questions, where a prompt comes instead


def scienceqa(files: AnnotationFiles, split: str) -> Questions:
    """ScienceQA's problems.json and pid_splits.json: those with a picture, by subject."""
    folders = ["", "data/scienceqa/"]
    problems = files.json(*(f"{folder}problems.json" for folder in folders))
    numbers = files.json(*(f"{folder}pid_splits.json" for folder in folders))[split]
    questions = []
    for number in numbers:
        item = problems[number]
        if item["image"]:
            context = f"Context: {item['hint']}\n" if item["hint"] else ""
            questions.append(Question(
                (f"{split}/{number}/{item['image']}",),
                context + lettered(item["question"], item["choices"]),
                (chr(ord("A") + item["answer"]),), number, item.get("subject", "")))
    return Questions(questions, [*folders, "images/", "data/scienceqa/images/"])


def seed(files: AnnotationFiles, split: str) -> Questions:
    """SPLIT.json of SEED-Bench: its questions about single pictures, by type."""
    content = files.json(f"{split}.json")
    names = {number: name for name, number in content["question_type"].items()}
    questions = [Question((item["data_id"],),
                          lettered(item["question"], [item[f"choice_{letter}"]
                                                      for letter in "abcd"]),
                          (item["answer"],), item["question_id"], names[item["question_type_id"]])
                 for item in content["questions"] if item.get("data_type", "image") == "image"]
    return Questions(questions, [f"{split}-image/"])


def mme(files: AnnotationFiles, split: str) -> Questions:
    """MME's folders, one for each task: pictures, and a text file of two questions for each.

    A folder may have both in folders of their own, and ``split`` is not looked at.
    """
    names = [each.name for each in files.storage.files("**/*")]
    texts = [name for name in names if name.endswith(".txt")]
    pictures = {_picture(name): name for name in names if not name.endswith(".txt")}
    questions = []
    for name in texts:
        picture = pictures.get(_picture(name))
        if picture is None:
            continue
        task = name.partition("/")[0]
        for line in files.read(name).decode().splitlines():
            if line.strip():
                question, answer = line.split("\t")
                questions.append(Question(
                    (picture,), question.strip().replace(YES_OR_NO, ""), (answer.strip(),),
                    f"{task}/{basename(picture)}", task))
    return Questions(questions, [""])


def _picture(name: str) -> tuple[str, str]:
    """The task of a file, and its picture."""
    return name.partition("/")[0], splitext(basename(name))[0]


def lettered(question: str, choices: list[str]) -> str:
    """The question and its choices, each on a line with a letter."""
    return "\n".join([question, *(f"{chr(ord('A') + number)}. {choice}"
                                  for number, choice in enumerate(choices))])
