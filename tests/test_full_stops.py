"""Sentences written for this file, with what stands before and after a full stop in them."""

import pytest

from rag_service.sentences import sentences

ONE_SENTENCE = [
    # English
    "Dr. Ada Lovelace met Prof. Babbage in St. Albans.",
    "The U.S. Senate met on Jan. 5 at 9 a.m. sharp.",
    "See Fig. 3, No. 5 and vol. II for details.",
    "Smith et al. Nature 2020 showed it.",
    "J. R. R. Tolkien and W. E. B. Du Bois never met.",
    "Apples, pears, etc. are fruit, i.e. Something sweet.",
    "Home vs. Away is the question.",
    "It was 12 vs. +4 in 2008 (c. $300).",
    "Acme Inc. reported a loss, and Foo Ltd. Denmark did not.",
    "Send it to ada@example.com or see https://example.com/a.b?c=d. for more".replace(". for", " for"),
    "Version 3.11.2 costs 4.50 dollars.",
    "1. Install the package.",
    "a. Install the package.",
    '"I left." he said.',
    "He waited ... and then left.",
    "Wait… what?",
    # German
    "Am 3. Mai 2024 beginnt der 2. Kurs im 19. Stock.",
    "Der Termin ist am 3. 5. 2024 um neun Uhr.",
    "Er spielt z. B. Klavier, d. h. Musik, und i. d. R. Jazz.",
    "Das kostet ca. 5 Euro, bzw. Dollar, vgl. Abb. 3 und Nr. 7.",
    "Ludwig XIV. von Frankreich und Dr. med. Weber sind gemeint.",
    "Äpfel, Birnen usw. sind Obst.",
    # Spanish
    "El Sr. García y la Dra. Pérez viven en EE. UU. desde hace años.",
    "Véase la pág. 5, p. ej. Madrid.",
    # French
    "M. Dupont et Mme. Martin arrivent à 8 h. du matin.",
    # Russian
    "А. С. Пушкин родился в г. Москва.",
    "Мы взяли хлеб, т. е. Еду, и т. д. и т. п. на дорогу.",
    "В 1990 г. город вырос, см. рис. 3 и стр. 5.",
    # Arabic
    "وصل د. أحمد، ثم سافر؛ وعاد بعد يوم.",
    # Japanese
    "彼は「行くよ。」と言った。",
]

TWO_SENTENCES = [
    # English
    ("He lives in the U.S.", "The law is old."),
    ("She works for Acme Inc.", "It makes rockets."),
    ("It opens at 9 a.m.", "We close at five."),
    ("I bought apples, pears, etc.", "Then I left."),
    ("Is it true?", "No."),
    ("No.", "I do not know."),
    ("Choose plan B.", "It works."),
    ("It happened in 1999.", "Nobody saw it."),
    ("There were 12.", "Police came."),
    ("See fig. 3.", "It is clear."),
    ("Read settings.py.", "Then run it."),
    ("He loves art.", "She loves him."),
    ("Compute x.", "Next, print it."),
    ("Go to example.com.", "Log in there."),
    ("**It is bold.**", "This is not."),
    ("It is so.[3]", "This is why."),
    ("is it on?", "yes it is"),
    ('He asked, "Why?"', "She left."),
    ("(See above.)", "It is clear."),
    # German
    ("Wir treffen uns am 3.", "Das passt gut."),
    ("Das steht in Kapitel 3.", "Dort wird es erklärt."),
    ("Er mag Äpfel, Birnen usw.", "Bananen mag er nicht."),
    ("„Ich gehe.“", "Sie blieb."),
    ("Er ging.", "»Komm«, sagte sie."),
    # Spanish
    ("¡Hola!", "¿Qué tal?"),
    ("¿Dónde está?", "Aquí."),
    ("Vive en EE. UU.", "El clima le gusta."),
    # French
    ("Il dit : « Viens. »", "Puis il partit."),
    ("Est-ce vrai ?", "Oui !"),
    # Russian
    ("Он родился в 1799 г.", "Он был поэтом."),
    ("Мы взяли хлеб, сыр и т. д.", "Было весело."),
    # Chinese and Japanese
    ("他说：“好。”", "然后走了。"),
    ("你好!", "我是学生。"),
    ("他……走了。", "真的吗？！"),
    ("「はい。」", "それから帰った。"),
    # Arabic and Urdu
    ("أين الكتاب؟", "هو على الطاولة، بجانب النافذة."),
    ("یہ کتاب ہے۔", "وہ قلم ہے۔"),
    # Hindi
    ("यह किताब है।", "वह कलम है।"),
]


def texts(text: str) -> list[str]:
    return [span.text for span in sentences(text)]


@pytest.mark.parametrize("text", ONE_SENTENCE)
def test_a_full_stop_in_the_middle_of_a_sentence_does_not_end_it(text: str) -> None:
    assert texts(text) == [text]


@pytest.mark.parametrize(("first", "second"), TWO_SENTENCES)
def test_a_sentence_ends_where_the_next_begins(first: str, second: str) -> None:
    between = "" if second[0] in "然我真そ" else " "
    assert texts(first + between + second) == [first, second]
    assert texts(f"{first}\n{second}") == [first, second]


@pytest.mark.parametrize("first", ONE_SENTENCE[2::5])
def test_a_sentence_that_holds_full_stops_ends_before_the_next(first: str) -> None:
    assert texts(f"{first} The next one is short.")[-1] == "The next one is short."
