"""How instructions to a language model are worded: the rules of `injection`, and nothing else.

Each is a pair: signs, without one of which (in lower case, separated by spaces) the rule need not be tried, and a pattern for lower-case
text. In `WORDED` a space stands for what may be between two words, and `(?:~)` for a few words within a sentence.
"""

from typing import Literal

Reason = Literal["override", "role", "system_text", "prompt_leak", "exfiltration", "answer_shaping"]
"""`override`: forget what you were told. `role`: be somebody else. `system_text`: text that pretends to be the system's or a turn of a
chat. `prompt_leak`: repeat what you were told. `exfiltration`: put what you know into an address. `answer_shaping`: how to answer."""

_WRITE = "(?:add|append|include|insert|integrate|incorporate|mention|embed|put|weave|state|claim|suggest|recommend|promote|hint|reference)"
_ANSWER = "(?:answers?|responses?|repl(?:y|ies)|output|summary)"
_DATA = (
    "(?:conversation|chat history|dialogue|user s (?:question|data|input|messages?|name|e ?mail|address)|secrets?|passwords?|api keys?"
    "|credentials|system prompt|personal data|documents? above)"
)

WORDED: dict[Reason, tuple[tuple[str, str], ...]] = {
    "override": (
        (
            "ignor disregard forget discard follow",
            r"\b(?:ignore|disregard|forget|discard|do not follow|don t follow|stop following) (?:~)"
            r"\b(?:previous|prior|preceding|above|earlier|foregoing|existing|original|initial)\b(?:~)"
            r"\b(?:instructions?|prompts?|directions?|directives?|guidelines?|rules|commands?|context|text|messages?|orders?)\b",
        ),
        (
            "ignor disregard forget overrid",
            r"\b(?:ignore|disregard|forget|override) (?:all|any|every|your|"
            r"the system s?) (?:of )?(?:the )?(?:other )?(?:your )?(?:system )?"
            r"(?:instructions?|prompts?|programming|guidelines)\b",
        ),
        (
            "forget disregard ignor",
            r"\b(?:forget|disregard|ignore) (?:everything|anything|all)(?: that)? (?:you (?:learned|were told|know|"
            r"have been)|above|before|i said)\b",
        ),
        (
            "task instruction objective goal order",
            r"\b(?:your|here are(?: your)?) (?:new|real|actual|true|updated) (?:task|instructions?|objective|goal|"
            r"orders?) (?:is|are|now)\b",
        ),
        (
            "instruction",
            r"\bnew (?:system )?instructions? ?[:：]",
        ),
        (
            "stop",
            r"\bstop (?:everything|what you are doing|what you re doing)\b[^.?\n]{0,40}\b(?:print|say|output|write|reply|respond)\b",
        ),
        (
            "instead",
            r"\binstead (?:of answering|of the answer)(?:~)\b(?:print|say|output|write|reply|respond|give)\b",
        ),
        (
            "tell inform alert mention",
            r"\b(?:do not|don t|never|without) (?:tell|telling|inform|informing|alert|alerting|mention (?:this|it) to) the user\b",
        ),
        # German, Spanish, French, Russian, Chinese
        (
            "ignorier verg missacht verwirf",
            r"\b(?:ignorier\w{0,3}|vergiss|vergessen sie|missachte\w?|verwirf) (?:~)\b(?:bisherig|vorherig|obig|vorig|früher|"
            r"vorangehend|deine|"
            r"alle)\w{0,2}\b(?:~)\b(?:anweisung|instruktion|vorgabe|befehl|regel|aufforderung)\w{0,3}\b",
        ),
        (
            "ignor olvid omiso descart",
            r"\b(?:ignor[ae]\w{0,2}|olvid[ae]\w{0,2}|haz caso omiso de|descart[ae]) (?:~)\b(?:instrucciones|órdenes|reglas|"
            r"indicaciones|directrices)"
            r"\b(?:~)\b(?:anteriores|previas|precedentes|originales|del sistema)\b",
        ),
        (
            "ignor oubli compte",
            r"\b(?:ignore[rz]?|oublie[rz]?|ne (?:tiens|tenez) pas compte) (?:~)\b(?:instructions|consignes|règles|directives|ordres)\b(?:~)"
            r"\b(?:précédente?s|antérieure?s|ci dessus|préalables|du système)",
        ),
        (
            "игнорируй",
            r"\b(?:про)?игнорируй(?:те)?\b(?:~)\b(?:предыдущ|прежн|выше|все|ранее)\w*\b(?:~)\b(?:инструкци|указани|правил|команд)\w*",
        ),
        (
            "забудь",
            r"\bзабудь(?:те)?\b(?:~)\b(?:предыдущ|прежн|все|ранее|инструкци)\w*\b(?:~)\b(?:инструкци|указани|правил|команд|сказан)\w*",
        ),
        (
            "忽略 无视 無視 忘 理会 理會",
            r"(?:忽略|无视|無視|忘记|忘記|忘掉|不要理会|不要理會)[^。！？\n]{0,12}(?:之前|以上|上面|前面|先前|上述|此前|所有|一切)[^。！？\n]{0,12}"
            r"(?:指令|指示|提示|规则|規則|命令|对话|對話)",
        ),
    ),
    "role": (
        (
            "now",
            r"\bfrom now on (?:~)\b(?:you (?:are|will|must|shall|have to)|your answers?|answer (?:only|as)|respond (?:only|as))\b",
        ),
        (
            "now",
            r"\byou are now (?:an? |the |in )?(?:~)\b(?:assistant|ai|model|chat ?bot|bot|mode|persona|unrestricted|"
            r"unfiltered|jailbroken)\b",
        ),
        (
            "going about",
            r"\byou are (?:going|about) to (?:act|pretend|play|behave|immerse yourself|become|role ?play)\b",
        ),
        (
            "assistant model restrict filter another",
            r"\b(?:act|behave|respond|answer|pretend) (?:as if|as though|like|that) you (?:are|were|re) (?:an? )?(?:~)"
            r"\b(?:ai|assistant|model|unrestricted|unfiltered|another|no (?:rules|restrictions|filters?))\b",
        ),
        (
            "role",
            r"\b(?:play|assume|take on) the role of (?:an? |another )?(?:~)\b(?:ai|artificial intelligence|assistant|model|chat ?bot)\b",
        ),
        (
            "mode",
            r"\b(?:developer|debug|god|dan|jailbreak|admin|sudo|unrestricted) mode (?:is )?(?:now )?(?:enabled|activated|on)\b",
        ),
        (
            "anything",
            r"\bdo anything now\b",
        ),
        (
            "restrictions confines",
            r"\b(?:have|has|with) (?:no|broken free of the(?: typical)?) (?:filters or restrictions|restrictions or filters|"
            r"confines of ai)\b",
        ),
        # German, Spanish, French, Russian, Chinese
        (
            "jetzt nun sofort",
            r"\b(?:du bist|sie sind) (?:jetzt|nun|ab jetzt|ab sofort) (?:ein\w{0,2} )?(?:~)\b(?:ki|assistent\w*|modell|bot|modus)\b",
        ),
        (
            "jetzt sofort",
            r"\bab (?:jetzt|sofort) (?:bist du|antwortest du|wirst du|antworte)\b",
        ),
        (
            "ahora",
            r"\b(?:a partir de ahora|desde ahora) (?:~)\b(?:eres|serás|responde|actúa|actuarás)\b",
        ),
        (
            "maintenant désormais",
            r"\b(?:à partir de maintenant|désormais) (?:tu es|vous êtes|tu vas|réponds|répondez|agis)\b",
        ),
        (
            "отныне этого этой",
            r"\b(?:отныне|с этого момента|с этой минуты) (?:ты|вы|отвечай)\b",
        ),
        (
            "现在",
            r"从现在(?:起|开始)[，, ]?你(?:是|将|要|必须|只)|你现在是(?:一个|一名)?[^。\n]{0,12}(?:模型|助手|机器人|模式)",
        ),
    ),
    "prompt_leak": (
        (
            "prompt instructions message",
            r"\b(?:reveal|print|repeat|output|show|display|disclose|leak|recite|write out|tell me|give me|share) (?:me )?(?:~)"
            r"\b(?:your|the) (?:~)\b(?:system prompt|system message|initial prompt|hidden prompt|(?:initial|hidden|original|"
            r"secret) instructions)\b",
        ),
        (
            "repeat",
            r"\brepeat (?:everything|all(?: of)?|the (?:words|text|instructions)) (?:the )?(?:text |words |instructions )?"
            r"(?:above|before this|you were given)\b",
        ),
        (
            "what",
            r"\bwhat (?:is|are|was|were) your (?:system prompt|(?:initial|original|hidden|secret) (?:instructions|prompt))\b",
        ),
        # German, Spanish, French, Russian, Chinese
        (
            "prompt anweisung instruktion",
            r"\b(?:zeig\w?|verrat\w?|nenn\w?|wiederhol\w?|gib) (?:~)\b(?:system ?prompt|systemanweisung\w*|"
            r"deine (?:anweisungen|instruktionen))\b",
        ),
        (
            "prompt instrucciones",
            r"\b(?:revela|muestra|repite|imprime) (?:~)\b(?:prompt del sistema|instrucciones (?:iniciales|del sistema|originales))\b",
        ),
        (
            "prompt instructions",
            r"\b(?:révèle|montre|répète|affiche)[rz]? (?:~)\b(?:prompt système|instructions (?:initiales|du système|secrètes))\b",
        ),
        (
            "промпт инструкци сообщени",
            r"(?:покажи|раскрой|повтори|выведи)(?:те)? (?:~)(?:системн\w+ (?:промпт|инструкци|сообщени)\w*)",
        ),
        (
            "系统 指令 提示词",
            r"(?:显示|输出|重复|透露|告诉我|打印)[^。！？\n]{0,12}(?:系统提示|系统指令|初始指令|提示词)",
        ),
    ),
    "exfiltration": (
        (
            "conversation history dialogue secret password key credential prompt personal above user",
            rf"\b(?:append|add|put|insert|encode|embed|include|place|send|post|submit|forward|upload) (?:~)\b{_DATA}\b"
            r"(?:[^.!?\n]{0,60}?)(?:\b(?:urls?|query string|parameters?|image link|web ?hook)\b|https?:|www\.)",
        ),
        (
            "conversation history dialogue secret password key credential prompt personal above user",
            r"\b(?:render|display|show|output|include|return|insert|add) (?:~)\b(?:markdown )?(?:image|picture|pixel|link)\b"
            rf"(?:[^.!?\n]{{0,60}}?)\b{_DATA}\b",
        ),
        (
            "![",
            r"!\[[^\]\n]{0,80}\]\([^)\s]{0,200}(?:\{|\[|<|%7b)[^)\s]{0,40}(?:question|answer|conversation|history|secret|"
            r"prompt|message|data|text)",
        ),
        (
            "details password credential credit personal",
            r"\b(?:send|forward|share|submit) (?:~)\b(?:bank details|passwords?|credentials|credit card|"
            r"personal data) to (?:https?:|www\.)",
        ),
    ),
    "answer_shaping": (
        (
            "translat encod encr encipher revers obfusc rot13 render express spell scramble",
            r"\b(?:translate|encode|encrypt|encipher|reverse|obfuscate|rot13|render|express|spell|scramble) your (?:entire |whole |full )?"
            rf"(?:{_ANSWER}|message)\b",
        ),
        (
            "modify alter change augment enhance extend adjust rewrite bias steer",
            rf"\b(?:modify|alter|change|augment|enhance|extend|adjust|rewrite|bias|steer) your (?:~)\b{_ANSWER}\b",
        ),
        (
            "sentence statement line claim paragraph phrase remark fact teaser link",
            rf"\b{_WRITE} (?:an? |the |one |this |some |these |\w+ )?(?:\w+ )?(?:sentence|statement|line|claim|paragraph|"
            rf"phrase|remark|fact|teaser|link)"
            rf"s?\b[^.!?\n]{{0,80}}?\b(?:in|to|into|with) (?:your|every|each|all) {_ANSWER}\b",
        ),
        (
            "answer response repl output summary",
            rf"\bin (?:your|every|each|all) {_ANSWER} (?:always |also |please )?{_WRITE}\b",
        ),
        (
            "answer response repl output summary",
            rf"\b(?:begin|start|end|finish|prefix|preface) (?:your|every|each|all)(?: of your)? {_ANSWER} with\b",
        ),
        (
            "base rot morse binary hexa revers emoji pig cipher caesar riddle",
            rf"\b(?:reply|respond|answer|write your {_ANSWER}|give your {_ANSWER}|provide your {_ANSWER}|"
            rf"express your {_ANSWER}) (?:only |just )?"
            r"(?:in|using|with|as) (?:an? )?(?:only )?(?:base ?\d\d|rot ?13|morse|binary|hexadecimal|reverse|emojis?|"
            r"pig latin|cipher|caesar|riddles?)",
        ),
        (
            "add append",
            rf"\b(?:add|append) [\"'“][^\"'”\n]{{1,200}}[\"'”] to your {_ANSWER}\b",
        ),
    ),
}
SYSTEM_TEXT = (
    (
        "<| <｜",
        r"<[|｜](?:im_start|im_end|im_sep|system|user|assistant|endoftext|eot_id|start_header_id|end_header_id|begin_of_text|end)[|｜]>",
    ),
    (
        "[inst] [/inst] <<sys>> <</sys>> _of_turn>",
        r"\[/?inst\]|<</?sys>>|<(?:start|end)_of_turn>",
    ),
    (
        "system admin developer",
        r"(?:^|\n)[ \t]*+[\[<#*(=-]{0,4}[ \t]*+(?:system|admin(?:istrator)?|developer)[ \t](?:prompt|message|override|"
        r"instructions?|notice|alert|command)"
        r"[ \t]*+[\])>#*=-]{0,4}[ \t]*+[:：]",
    ),
    (
        "end begin start",
        r"(?:^|\n)[ \t]*+[-=#*\[<]{2,}[ \t]*+(?:end|begin|start)(?:ning)? of (?:the )?(?:documents?|context|passages?|"
        r"system prompt|instructions?|"
        r"user (?:input|prompt|message)|untrusted)",
    ),
    (
        "###",
        r"(?:^|\n)###[ \t]*+(?:new )?(?:instruction|system|response)s?[ \t]*+:",
    ),
)
