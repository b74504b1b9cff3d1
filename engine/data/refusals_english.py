"""Whether an opening declines to answer, in English.

A refusal opens the response, in the assistant's own voice: "I cannot", before what assistants are asked for; an
apology before it makes more verbs one. Or it names what stands against it (an AI's nature, its guidelines, comfort),
declines outright, or says that this is nothing it can do. "I cannot wait", an apology before an answer, a letter and
what somebody in a story will not do are none.

Notation: small letters. `_CANNOT` is everything from "I cannot" to "I am not permitted to" without the person, `_HELP`
verbs of what assistants do, `_OBJECT` what they are typically asked for and refuse.
"""

import re


def _phrases(text: str) -> tuple[str, ...]:
    return tuple(text.split("|"))


_AI = (
    r"(?:(?:just |only |merely )?an? |your )?(?:(?:responsible|ethical|helpful|harmless|safe|respectful|honest|"
    r"and),? )*"
    r"(?:(?:large |text-based |helpful )?(?:ai\b|artificial intelligence)"
    r"(?! (?:research|engineer|expert|scientist|developer|compan|student|enthusiast|professional|consult|start-?up))|"
    r"(?:(?:large|ai|text-based|text|language) )*model|virtual assistant|digital assistant|chatbot|machine\b)"
)
_SORRY = (
    r"(?:(?:i'm|i am|we're|we are) (?:very |so |really |truly |deeply )?(?:sorry|afraid)|sorry|"
    r"i (?:do |sincerely )?apologi[sz]e|(?:my |sincere )*apologies|unfortunately|regrettably|i regret)"
)
_CANNOT = (
    r"(?:cannot|can't|can not|could not|couldn't|should not|shouldn't|won't be able|will not be able|won't|will not|"
    r"must not|(?:do not|don't) (?:wish|want)|(?:am|'m|are|'re|was|were) (?:unable|not (?:able|permitted|allowed|"
    r"authori[sz]ed|equipped|designed|programmed|trained|built|capable|prepared|willing|going|at liberty|"
    r"in a position)))"
    r"(?:,? in good conscience,?| ethically| legally| directly| actually| personally| really| simply| currently)?"
)
_HELP = (
    r"(?:to |of )?(?:be )?(?:help(?!(?:ing)? but)|assist|provid|fulfil|satisf|compl[iy]|complet|answer|respond|generat|"
    r"creat|writ|draft|discuss|engag|support|offer|giv|shar|do(?:ing)? (?:that|this|so)|process|perform|access|brows|"
    r"display|determin|recommend|produc|disclos|reveal|advis|instruct|explain how|comment|participat|translat|"
    r"summari[sz]|(?:mak|plac)\w+ (?:phone |a )?calls?|tell you how to|(?:show|teach) you how|"
    r"(?:view|see|hear|watch|open|play|read)(?:ing)? (?:the |your |any |this |that |these |those )?(?:\w+ )?"
    r"(?:images?|pictures?|photos?|files?|links?|attachments?|videos?|audio|screens?|documents?|urls?|websites?|"
    r"pages?))"
    r"\w*"
)
_WHOLE = (
    r"(?:to )?(?:assist|fulfil|satisfy|comply|condone|engage in|help (?:you|with|anyone)|tell you how to|"
    r"open (?:urls|links))"
)
_OBJECT = (
    r"\b(?:requests?|(?:this|that)(?: (?:kind|type|sort|information|content|topic|task|conversation|question|one|for "
    r"(?:you|that))\b|\s?(?:[,.!;:—–-]|$| (?:because|as|since|for)))|such|instructions?|information|guidance|details|"
    r"advice|directions|assistance|opinions?|content|material|illegal|harm\w*|unethical|dangerous|violen\w+|"
    r"hat(?:e|eful|red)|weapons?|drugs?|explosives?|malware|malicious|hack\w*|exploit\w*|threat\w*|suicid\w+|"
    r"self-harm|sexual\w*|explicit|copyright\w*|private|personal|sensitive|confidential|medical|legal|diagnos\w+|"
    r"real[- ]time|internet|browse|images?|pictures?|links?|files?|without (?:more|further|additional)|"
    r"(?:as|because|since) i(?: a|')m)\b"
)
_NO = r"(?:do not|don't)"
_LACK = (
    rf"{_NO} (?:currently |actually |really )?have (?:the |enough |any |direct |sufficient )*"
    r"(?:ability|access|capability|capacity|information|context|details|means|permission)"
)
_NOW = r"(?:real[- ]time|current|live|up[- ]to[- ]date)"
_MORE = r"(?:some )?(?:more|further|additional) (?:information|context|details)"
_RULES = (
    r"(?:(?:safety|content|usage|ethical|community|use) )*"
    r"(?:guidelines?|polic(?:y|ies)|programming|terms of (?:use|service))"
)
_REST = r"[^.!?\n]"
_CLAUSE = rf"{_REST}{{0,110}}?(?:,|;|:| and| but| so)(?: and| but| so| therefore| since| because| as)*"
_BEFORE = rf"(?:{_SORRY}\b{_REST}{{0,60}}?(?:[,.!:;–—-]+\s*|\s+)(?:but |however,? |that |as {_AI}{_REST}{{0,60}}?, ?)*)"
"""An apology, and what leads on from it."""

_NATURE = (
    rf"(?:as|being) {_AI}{_REST}{{0,80}}?,? ?\b(?:i|my)\b ?"
    rf"(?:{_CANNOT}|{_NO}|am not|'m not|have no|lack|must decline)",
    rf"(?:because |since )?(?:i am|i'm) {_AI}{_REST}{{0,60}}?(?:and|so|which means|therefore|,|;|\.)\s(?:therefore |"
    rf"so )?"
    rf"(?:i ?)?(?:{_CANNOT}|{_NO}|it is against|it's against) ?",
    rf"(?:i|my) ?(?:{_CANNOT}|{_NO}|have no)\b{_REST}{{0,90}}?(?:(?:as|because|since|for) |, )(?:i am|i'm) {_AI}",
    rf"i(?: was|'m| am) (?:only |just )?(?:designed|programmed|here|built|trained|made) to {_REST}{{0,70}}?"
    rf"(?:so|and|but|,) i (?:{_CANNOT}|must (?:decline|refuse)|have to (?:decline|refuse)|{_NO})",
    rf"i (?:{_LACK}|have no (?:access|connection)) to (?:any )?(?:{_NOW}|the (?:internet|web)|personal|private|"
    rf"external|"
    r"your|(?:this|that) (?:information|data|kind)|\w+ or (?:use|see|view))",
    rf"i {_LACK} to (?:{_HELP}|(?:see|hear|feel|taste|smell|remember|learn|predict|experience|physically|identify)\b)",
    rf"i {_NO} have (?:access to )?(?:any )?{_NOW} (?:\w+ )?(?:data|information|news|prices|access)",
    rf"i {_NO} have (?:(?:personal |human |any |real )+(?:experiences?|feelings|emotions|opinions?|preferences|"
    rf"beliefs)|"
    r"(?:feelings|emotions|opinions) (?:or|and)\b)",
)
"""By what an assistant is and lacks."""
_WILL = (
    rf"i ?{_CANNOT} (?:{_HELP}{_REST}{{0,90}}?{_OBJECT}|{_WHOLE})",
    rf"{_CLAUSE} i ?{_CANNOT} (?:{_HELP}{_REST}{{0,60}}?{_OBJECT}|{_WHOLE})",
    rf"i {_REST}{{0,90}}? and (?:will not|cannot|can't|won't) {_HELP}{_REST}{{0,60}}?{_OBJECT}",
    rf"we ?{_CANNOT} (?:to )?{_HELP}{_REST}{{0,20}}?\b(?:request|prompt|query)",
    rf"i ?{_CANNOT} (?:to )?do (?:that|this|so)\b{_REST}{{0,20}}?(?:for you|[.!,;]|$| as | because )",
    rf"i {_NO} (?:provid|giv|offer|writ|generat|creat|produc)\w* {_REST}{{0,40}}?{_OBJECT}",
    r"i (?:cannot|can't|won't),? in good conscience",
    rf"i ?(?:{_NO}|would not|wouldn't|am not|'m not|wouldn't be|would not be) ?(?:feel )?comfortable (?:with )?"
    rf"(?:{_HELP}|this|that|such)",
    rf"i {_NO} (?:think|believe|feel) (?:that )?(?:i (?:can|should|could|am able to|'m able to)|"
    rf"it (?:is|would be) (?:appropriate|right|ethical|safe) (?:for me )?to) ?{_HELP}",
    rf"(?:{_CLAUSE} )?i(?:'d| would)? (?:prefer|rather|would prefer) not (?:to )?(?:{_HELP}|say|continue|get into|"
    rf"go into)",
    r"i(?: am|'m)? ?(?:must|have to|need to|will have to|'ll have to|going to have to|going to|will|'ll)? "
    r"(?:respectfully |politely |also )?(?:decline|refuse|say no|pass on|turn)"
    r"(?: (?:down|to (?!believe|accept|let|give up)|this|that|your request|answering|helping|providing|writing|such)|"
    r"\s?(?:[,.!;:]|$)| (?:as|because|since|and)\b)",
    rf"i (?:must|have to|will) refrain from {_HELP}",
    rf"there is no way i(?:'m| am|'ll| will| would) (?:going )?{_HELP}",
    r"(?:as|so|however) much as i(?:'d| would) (?:like|love|want) to (?:help|assist)",
    r"no can do\b|i can't let you\b|let's (?:talk about|discuss) something else",
)
"""By what the assistant says it will or can not do."""
_THING = r"(?:request|prompt|question|instruction|topic|content|task)"
_REASON = (
    r"(?:it is|it's|it would be|it wouldn't be|it isn't) (?:not (?:possible|appropriate|ethical|right|safe|okay|ok)|"
    r"(?:in)?appropriate|impossible|unethical|irresponsible|wrong|unsafe|against) "
    rf"(?:(?:for|of) me to (?:{_HELP}|do\b|say|express|have|take)|(?:my|our) {_RULES})",
    rf"(?:it is|it's) not (?:appropriate|ethical|right|safe|legal)(?: (?:or|and) \w+)? to {_HELP}{_REST}{{0,80}}?"
    r"\bi (?:won't|will not|cannot|can't|must decline)",
    rf"(?:this|that|the|your|such an?) (?:\w+ )?{_THING}{_REST}{{0,10}} ?"
    r"(?:violates|goes against|is against (?:my|our)|is not something i|isn't something i|cannot be fulfilled)"
    rf"(?!{_REST}{{0,20}}(?:specification|protocol|standard))",
    rf"(?:this|that|the|your) {_THING}\b{_REST}{{0,90}}?\bi (?:{_CANNOT}(?: {_HELP}|\s?[.,!]| do\b)|must decline)",
    rf"{_REST}{{0,90}}?\b(?:is not|isn't|'s not|was not|wasn't) something (?:that )?i(?: can| could|'m| am| will|'ll|"
    rf"'d)"
    r"(?: be)?(?: able| comfortable| willing| allowed| permitted| going| prepared| equipped)? ?(?:to |with )?"
    rf"(?:{_HELP}|do\b|doing|[.,!;]|$)",
    r"(?:this|that|it)(?:'s| is) (?:outside|beyond) (?:of )?(?:what i|my (?:abilit|capabilit|scope|role|function))",
    rf"(?:my|our) {_RULES} (?:(?:prevent|prohibit|forbid|stop|keep)\w* (?:me|us)|"
    rf"(?:{_NO}|does not|doesn't|won't|will not) (?:allow|permit|let) (?:me|us|for|such|this|that))",
    rf"{_REST}{{0,100}}?\b(?:goes against|is against|against|violat\w+|(?:not|never) (?:allowed|permitted) (?:by|"
    rf"under)|"
    rf"prohibited (?:by|under)|conflicts? with) (?:my|our) {_RULES}",
)
"""By what stands against it."""
_AFTER_SORRY = (
    rf"(?:i|we) ?(?:{_CANNOT} {_HELP}|{_LACK}|must decline|have to decline)",
    r"(?:that|this|your|the) ?(?:'s|is|request|question|prompt|input)\b[^.]{0,40}? (?:not (?:possible|appropriate|"
    r"clear|"
    r"complete|something i|allowed|permitted)|violates?|goes against|against my|incomplete|outside)",
    rf"(?:i )?(?:would )?(?:need|require) {_MORE}",
    r"no can do|(?:that is|that's) off limits",
)
"""What refuses only after an apology."""
_PATTERN = re.compile(
    rf"{_BEFORE}?(?:but |and |so |however,? )?(?:{'|'.join((*_NATURE, *_WILL, *_REASON))})|"
    rf"{_BEFORE}(?:{'|'.join(_AFTER_SORRY)})"
)
_POSSIBLE = _phrases(
    "sorry|apolog|cannot|can't|can not|couldn't|could not|won't|will not|must not|should not|shouldn't|unable|not able|"
    "decline|refuse|for me to|of me to|language model|rather not|prefer not|violate|against|an ai|i'm ai|have no|don't|"
    "do not|not something|n't something|comfortable|guideline|polic|programming|not permitted|not allowed|not authori|"
    "not equipped|not designed|not programmed|not trained|not capable|not going|not willing|not prepared|at liberty|"
    "outside of|beyond my|beyond what|no can do|say no|pass on|something else|much as i|afraid|regret|not in a pos|"
    "no way i|no access|being a|refrain|turn down"
)
"""A refusal holds one of these: looked for first, because it is cheap."""
_GREETING = re.compile(
    r"(?:[\W_]*(?:(?:hello|hi|hey|thank you[^.!,]{0,40}|thanks[^.!,]{0,40}|well|sure|no|nope|no way|absolutely not|hm+|"
    r"um+|oh|ah|okay|ok|nice try|i (?:understand|appreciate|see|know)[^.!,]{0,60})[,.!]\s*)?)*"
)


def declines_in_english(head: str) -> bool:
    """Whether the opening, in small letters and with plain apostrophes, declines to answer in English."""
    if not any(part in head for part in _POSSIBLE):
        return False
    start = _GREETING.match(head)
    return bool(_PATTERN.match(head, start.end() if start else 0))
