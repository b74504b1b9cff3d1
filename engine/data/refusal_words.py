"""How an assistant declines in ten languages of Latin letters other than English, and the form of such words.

Notation: small letters; `~` stands for up to 70 further characters of the same sentence. A language's `sorry` opens a
refusal, `refused` says in the first person that something an assistant does will not be done, `machine` says "as an
AI" or "I am an AI", `lacks` what it then lacks, `object` what is typically asked for, and `declines` refuses by itself.
`late`: the verb stands last, so that `refused` begins without the person, which `person` may add. `first` lists the
words that any of these can begin with; languages in other scripts (`refusal_scripts`) need none. Verbs are those of
help, answers and access: "I cannot come" is somebody's line, no refusal. Patterns are made of them in `refusals`.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Voice:
    """One language, in the terms of the module."""

    sorry: str
    refused: str
    machine: str
    lacks: str
    object: str
    declines: str
    first: str = ""
    late: bool = False
    person: str = ""


LATIN: dict[str, Voice] = {
    "de": Voice(
        first="es tut mir leider ich entschuldigung entschuldigen entschuldige verzeihung bedauerlicherweise als",
        sorry=r"(?:es )?tut mir (?:\w+ )?leid|mir tut es leid|leider|entschuldigung|entschuldigen sie|entschuldige|"
        r"verzeihung|bedauerlicherweise|ich (?:bedauere?|bitte um (?:entschuldigung|verständnis)|entschuldige mich)",
        refused=r"(?:ich (?:kann|darf|könnte|werde)|(?:kann|darf|werde) ich)\b~\b(?:nicht|"
        r"kein\w*)\b~\b(?:(?:weiter)?helfen|(?:be)?antworten|unterstützen|bereitstellen|erstellen|generieren|"
        r"erfüllen|nachkommen|liefern|anbieten|zugreifen|durchführen|ausführen|erzeugen|verarbeiten|bearbeiten|"
        r"entsprechen|behilflich|geben|stellen|schreiben|verfassen|teilen)\b|(?:ich bin|"
        r"bin ich)\b~\bnicht (?:in der lage|fähig|imstande|befugt)|(?:ich habe|habe ich)\b~\bkein\w* (?:zugriff|"
        r"zugang|möglichkeit|fähigkeit)|(?:es ist|ist es) mir~ nicht möglich|\bdas (?:kann|darf) ich~nicht~(?:tun|"
        r"machen)|ich kann das~nicht~(?:tun|machen)|ich kann~ keine auskunft|(?:ich habe|habe ich)~ nicht (?:genug|"
        r"genügend|ausreichend)\w* (?:informationen|kontext)|(?:benötige|brauche)~ (?:mehr|weitere|"
        r"zusätzliche) (?:informationen|angaben|details|kontext)",
        machine=r"(?:als|ich bin) (?:nur |lediglich |bloß )?(?:eine? |reine[sr]? )?(?:gro(?:ß|ss)e[sr]? |"
        r"einfache[sr]? |moderne[sr]? |textbasierte[sr]? )?(?:ki(?:\b(?!-)|-(?:modell|sprachmodell|assistent|system|"
        r"chatbot))|künstliche intelligenz\b(?!-)|(?:sprachmodell|chatbot)\b(?!-)|virtueller assistent)",
        lacks=r"\b(?:nicht|kein\w*)\b",
        object=r"anleitung|waffe|gewalt|drogen|sprengstoff|\bhack|schadsoftware|malware|inhalte\b|"
        r"anfrage|dabei|damit|anliegen|wunsch|bitte\b|illegal|schädlich|persönliche|echtzeit|internet|bilder|"
        r"medizinisch|rechts|ohne weitere|solche|diese[nrms]? (?:frage|aufgabe|art|inhalt)",
        declines="ich (?:muss|möchte)~ (?:ablehnen|verweigern)|ich (?:möchte|würde) (?:lieber )?(?:dazu |darüber |"
        "mich dazu )?(?:lieber )?(?:nicht|keine)~ (?:antworten|äußern|sprechen|stellung|beantworten)|"
        "es ist mir nicht (?:möglich|erlaubt|gestattet)",
    ),
    "fr": Voice(
        first="je désolé désolée navré navrée malheureusement nous toutes mes excuses excusez en il",
        sorry=r"(?:je suis |nous sommes )?(?:\w+ )?(?:désolée?|navrée?)s?\b|malheureusement|je (?:m'excuse|regrette|"
        r"vous prie de m'excuser)|(?:toutes )?mes excuses|excusez-moi",
        refused=r"(?:je|nous) (?:ne |n')(?:(?:vous|te|le|la|les|y|en|l'|t') ?)*(?:peux|puis|pourrai|pourrais|pouvons|"
        r"saurais|vais)\b~\b(?:aider|assister|répondre|fournir|donner|générer|créer|écrire|rédiger|accéder|"
        r"satisfaire|traiter|accomplir|partager|produire|proposer|afficher|exécuter|effectuer|discuter|apporter|"
        r"faire (?:cela|ça|ce que))\b|(?:je|nous) ne (?:suis|sommes)~ pas~ (?:en mesure|capables?|autorisée?|"
        r"habilitée?|apte)|je n'ai (?:malheureusement )?pas (?:accès|la (?:capacité|possibilité)|(?:assez|"
        r"suffisamment) d'information)|il (?:ne )?m'est (?:pas possible|impossible) d|j'(?:ai|"
        r"aurais) besoin de plus (?:d'information|de (?:détail|contexte|précision))",
        machine=r"(?:en tant qu(?:e |')|je (?:ne )?suis (?:qu')?)(?:une? )?(?:simple )?(?:ia\b|"
        r"intelligence artificielle|(?:grand )?modèle (?:de langage|linguistique|d'ia)|assistante? (?:virtuel|ia\b|"
        r"numérique)|chatbot)",
        lacks=r"\bje (?:ne|n')~ ?\bpas\b|\bne (?:peux|suis|possède|dispose) pas|n'ai (?:pas|aucun)",
        object=r"instructions?\b|armes?\b|violen|drogue|explosif|pirat|malveillant|haineux|contenu|"
        r"demande|cela|\bça\b|ce (?:type|genre)|cette (?:question|tâche)|illéga|nuisible|personnel|temps réel|"
        r"internet|images?\b|médica|juridique|sans (?:plus|davantage)",
        declines=r"je (?:dois|me dois de|suis (?:obligée?|contrainte?) de) (?:\w+ment )?(?:décliner|refuser)|"
        r"je (?:préfère|préférerais) ne pas (?:répondre|discuter|aider|donner|aborder)|"
        r"il (?:ne )?m'est (?:pas possible|impossible) (?:de |d')(?:vous )?(?:aider|répondre|fournir|donner|accéder|"
        r"satisfaire)",
    ),
    "es": Voice(
        first="lo siento lamento lamentablemente desafortunadamente por me disculpa disculpe perdón mis no como soy "
        "debo prefiero desgraciadamente es",
        sorry="lo siento|me temo|lo lamento|lamento|lamentablemente|desafortunadamente|desgraciadamente|"
        "por desgracia|me disculpo|disculp[ae]|perdón|mis disculpas|te pido disculpas|pido disculpas",
        refused=r"\bno (?:me |te |le |les |os |lo )?(?:puedo|podemos|podré|podría)\b~\b(?:ayudar|asistir|responder|"
        r"contestar|proporcionar|ofrecer|brindar|dar|generar|crear|escribir|redactar|acceder|cumplir|atender|"
        r"procesar|compartir|producir|mostrar|realizar|ejecutar|apoyar|completar|hacer(?:lo| [ei]so| esto))(?:te|le|"
        r"les|lo|la|os)?\b|\bno (?:soy capaz|estoy (?:en condiciones|capacitad[oa]|autorizad[oa]|programad[oa])|"
        r"tengo (?:acceso|la capacidad|suficiente (?:información|contexto)|la posibilidad))|\b(?:necesito|"
        r"necesitaría|requiero) más (?:información|detalles|contexto)|\bno me es posible|\bme es imposible",
        machine=r"(?:como|(?:yo )?(?:sólo |solo )?soy) (?:una? )?(?:simple )?(?:ia\b|inteligencia artificial|"
        r"(?:gran )?modelo (?:de lenguaje|lingüístico|de ia)|asistente (?:virtual|de ia|digital)|chatbot)",
        lacks=r"\bno (?:puedo|tengo|soy|estoy|poseo|dispongo|experimento|siento|me|te|le)|\bcarezco",
        object=r"instruccion|armas?\b|violen|droga|explosiv|hacke|malware|contenido|"
        r"solicitud|petición|\beso\b|\besto\b|con ello|es[et]a? (?:tipo|pregunta|tarea)|ilegal|dañin|personal|"
        r"tiempo real|internet|im[aá]gen|m[eé]dic|legal|sin más|lo que pides",
        declines=r"debo (?:\w+mente )?(?:negarme|rechazar|declinar|rehusar)|prefiero no (?:responder|contestar|"
        r"hablar|opinar|ayudar)|no me es posible (?:ayudar|responder|proporcionar|acceder|cumplir|atender)",
    ),
    "pt": Voice(
        first="desculpe desculpa sinto lamento infelizmente lamentavelmente peço me minhas não eu como sou devo "
        "prefiro",
        sorry=r"(?:eu )?(?:sinto|lamento) muito|(?:me )?desculp[ae](?:-me)?|lamento|infelizmente|lamentavelmente|"
        r"(?:eu )?peço (?:\w+ )?desculpas?|minhas desculpas",
        refused=r"\b(?:não|nao) (?:(?:lhe|te|o|a|vos) )?(?:posso|podemos|poderei|poderia|consigo|irei|"
        r"vou)\b~\b(?:ajud(?:ar|á)|auxili(?:ar|á)|responder?|fornecê?e?r?|oferecer|dar|gerar|criar|escrever|redigir|"
        r"acessar|aceder|cumprir|atender|processar|compartilhar|partilhar|produzir|mostrar|realizar|executar|prestar|"
        r"completar|fazer (?:isso|isto))(?:-l[oa]s?|-te|-lhe)?\b|\bnão (?:sou capaz|estou (?:apt[oa]|autorizad[oa]|"
        r"habilitad[oa])|tenho (?:acesso|(?:a )?capacidade|(?:informações|contexto) suficientes?|como (?:ajudar|"
        r"responder|fornecer)))|\b(?:preciso|precisaria) de mais (?:informações|detalhes|contexto)|"
        r"\bnão me é possível",
        machine=r"(?:como|(?:eu )?sou(?: apenas)?) (?:uma? )?(?:simples )?(?:ia\b|inteligência artificial|"
        r"(?:grande )?modelo (?:de linguagem|linguístico|de ia)|assistente (?:virtual|de ia|digital)|chatbot)",
        lacks=r"\bnão (?:posso|tenho|sou|estou|possuo|disponho|consigo|sinto|me|lhe)",
        object=r"instruç|armas?\b|violên|violen|droga|explosiv|hacke|malware|conteúdo|"
        r"pedido|solicitação|\bisso\b|\bisto\b|nisso|com iss?to|ess?[ea] (?:tipo|pergunta|tarefa)|ilega|"
        r"prejudicia|pessoa|tempo real|internet|imagens?\b|médic|jurídic|sem mais",
        declines=r"devo (?:\w+mente )?(?:recusar|declinar)|prefiro não (?:responder|comentar|falar|opinar|ajudar)|"
        r"não me é possível (?:ajudar|responder|fornecer|aceder|acessar|atender)",
    ),
    "it": Voice(
        first="mi sono purtroppo scusa scusi scusate chiedo sfortunatamente ci non come in devo preferisco le",
        sorry="mi (?:dispiace|spiace|scuso)|sono (?:spiacente|desolat[oa])|purtroppo|sfortunatamente|scus[ai](?:te|"
        "mi)?|chiedo scusa|ci dispiace|le mie scuse",
        refused=r"\bnon (?:ti |le |vi |lo |la |ne )?(?:posso|possiamo|potrò|riesco a)\b~\b(?:aiutar|assister|"
        r"risponder|fornir|offrir|dar|generar|crear|scriver|redigere|acceder|soddisfar|elaborar|condivider|produrre|"
        r"mostrar|eseguir|completar|supportar|farlo|fare (?:questo|ciò|quello))(?:e|ti|la|le|vi|lo)?\b|"
        r"\bnon (?:sono (?:in grado|autorizzat[oa]|capace|abilitat[oa])|ho (?:accesso|la (?:capacità|possibilità)|"
        r"(?:abbastanza|sufficienti) informazioni))|\b(?:ho|avrei) bisogno di (?:più|maggiori|"
        r"ulteriori) (?:informazioni|dettagli|contesto)|\bnon mi è possibile",
        machine=r"(?:come|in quanto|in qualità di|sono(?: solo)?) (?:un[a']? ?)?(?:semplice )?(?:ia\b|ai\b|"
        r"intelligenza artificiale|(?:grande )?modello (?:linguistico|di linguaggio|di ia)|assistente (?:virtuale|"
        r"ai\b|ia\b|digitale)|chatbot)",
        lacks=r"\bnon (?:posso|ho|sono|possiedo|dispongo|provo|riesco|mi)",
        object=r"istruzion|\barm[ia]\b|violen|drog|esplosiv|bomb|hacker|malware|contenut|"
        r"richiest|\bquesto\b|\bciò\b|quest[oa] (?:tipo|domanda)|con questo|illegal|dannos|personal|"
        r"tempo reale|internet|immagin|medic|legal|senza (?:ulteriori|altre)",
        declines=r"devo (?:\w+mente )?(?:rifiutar|declinar)|preferisco non (?:rispondere|parlare|commentare|aiutare)|"
        r"non mi è possibile (?:aiutar|risponder|fornir|acceder|soddisfar)",
    ),
    "nl": Voice(
        first="het sorry helaas mijn excuses ik als spijtig jammer",
        sorry=r"het spijt (?:me|mij|ons)(?: \w+)?|sorry|helaas|(?:mijn )?excuses|ik bied mijn excuses aan|"
        r"jammer genoeg|spijtig genoeg|ik verontschuldig me",
        refused=r"(?:ik (?:kan|mag|kon|zal)|(?:kan|mag|zal) ik)\b~\b(?:niet|geen)\b~\b(?:helpen|assisteren|"
        r"(?:be)?antwoorden|verstrekken|geven|genereren|maken|schrijven|leveren|voldoen|ondersteunen|uitvoeren|"
        r"aanbieden|verwerken|delen|bieden|openen|raadplegen)\b|(?:ik ben|ben ik)\b~\bniet (?:in staat|bevoegd|"
        r"bij machte)|(?:dat|dit) (?:kan|mag) ik~niet (?:doen|maken)|(?:ik heb|heb ik)\b~\b(?:geen (?:toegang|"
        r"mogelijkheid|vermogen)|niet (?:genoeg|voldoende) (?:informatie|context))|(?:ik heb|"
        r"heb ik)~ meer (?:informatie|details|context) nodig|mij niet mogelijk",
        machine=r"(?:als|ik ben)(?: slechts| maar)? (?:een )?(?:groot |eenvoudig |virtuele )?(?:ai(?:\b(?!-)|"
        r"-(?:model|taalmodel|assistent|systeem|chatbot))|kunstmatige intelligentie\b(?!-)|taalmodel|"
        r"virtuele assistent|chatbot)",
        lacks=r"\b(?:niet|geen)\b",
        object=r"instructie|wapen|geweld|drugs|explosie|\bhack|malware|inhoud|"
        "verzoek|daarbij|hierbij|daarmee|hiermee|illega|schadelijk|persoonlijk|real-?time|internet|afbeelding|"
        "medisch|juridisch|zonder (?:meer|verdere)|(?:dit|deze|dat|die) (?:vraag|soort|taak)|dergelijke",
        declines=r"ik moet~ (?:weigeren|afwijzen|afslaan)|ik (?:wil|zou|geef) (?:\w+ )?(?:liever|"
        r"de voorkeur)~ (?:niet|geen)~ ?(?:antwoord|bespreken|beantwoorden|helpen|zeggen)",
    ),
    "tr": Voice(
        first="yasa yasadışı kişisel üzgünüm maalesef özür kusura ne bir ben bu yapay affedersiniz üzülerek böyle size",
        sorry="(?:çok )?üzgünüm|maalesef|ne yazık ki|özür dilerim|kusura bakma(?:yın)?|affedersiniz|üzülerek|"
        "afedersiniz",
        late=True,
        person="~",
        refused=r"\b(?:yardımcı olam(?:am|ıyorum|ayız|ayacağım)|yardım edem(?:em|iyorum|eyeceğim)|(?:cevap|yanıt|"
        r"bilgi|tavsiye) verem(?:em|iyorum|eyeceğim)|(?:cevaplayam|yanıtlayam|sağlayam|sunam|oluşturam|üretem|yazam|"
        r"erişem|paylaşam|karşılayam|gerçekleştirem|yerine getirem|destekleyem|yapam)(?:am|em|ıyorum|iyorum|ayacağım|"
        r"eyeceğim)|(?:erişimim|yetkim|yeteneğim|bilgim) (?:yok|bulunmuyor|bulunmamaktadır)|(?:mümkün değil|"
        r"daha fazla (?:bilgi|ayrıntı|bağlam)\w* ihtiyacım))",
        machine=r"(?:ben )?(?:sadece )?(?:bir )?(?:yapay zek[aâ]|(?:büyük )?dil modeli|sanal asistan|"
        r"sohbet botu)(?: (?:dil )?(?:modeli|asistanı|sistemi|programı))*(?:\w?\w?[ıiuü]m\b| (?:olarak|"
        r"olduğum\w*(?: için)?))",
        lacks=r"(?:\w+(?:amam|emem|amıyorum|emiyorum|mıyorum|miyorum)\b|\byok\b|\bdeğil|bulunmuyor|bulunmamakta)",
        object=r"talimat|silah|şiddet|uyuşturucu|patlayıcı|hack|içerik|"
        r"istek|isteğ|talep|taleb|\bbu\b|bunu|yasa ?dışı|zararlı|kişisel|gerçek zamanlı|internet|görüntü|"
        r"görsel|tıbbi|hukuk|konuda|böyle|soru",
        declines="(?:bu |isteğinizi |talebinizi )~(?:reddetmek|geri çevirmek)(?: zorundayım| durumundayım)|"
        "~cevap vermemeyi tercih ederim",
    ),
    "pl": Voice(
        first="przepraszam przykro niestety wybacz proszę jako nie jestem muszę wolę",
        sorry="(?:bardzo )?przepraszam|(?:bardzo )?przykro mi|niestety|wybacz(?:cie)?|proszę o wybaczenie|"
        "z przykrością",
        refused=r"\bnie (?:mogę|możemy|jestem w stanie|potrafię|będę|mogłabym|mógłbym)\b~\b(?:pomóc|odpowied\w+|"
        r"udziel\w+|dostarczy\w+|poda[ćw]\w*|wygenerowa\w+|generowa\w+|stworzy\w+|tworzy\w+|napisa\w+|zapewni\w+|"
        r"spełni\w+|(?:tego |to )?zrobić|uzyska\w+|przetworzy\w+|udostępni\w+|wykona\w+|zrealizowa\w+|wspiera\w+|"
        r"zaoferowa\w+)|\bnie (?:mam (?:\w+ )?(?:dostępu|możliwości|wystarczając\w+|zdolności|uprawnień)|"
        r"jestem (?:upoważnion|zdoln|uprawnion))|\bpotrzebuję (?:więcej|dodatkowych) (?:informacji|szczegółów|"
        r"kontekstu)|\bnie jest (?:dla mnie |mi )możliw",
        machine=r"(?:jako|jestem(?: tylko)?) (?:duży |zaawansowany |zwykły )?(?:ai\b|si\b|sztuczn\w+ inteligencj\w+|"
        r"(?:duż\w+ )?model\w* język\w+|model\w* ai|wirtualn\w+ asystent\w*|chatbot\w*)",
        lacks=r"\bnie (?:mogę|mam|jestem|posiadam|potrafię|odczuwam|dysponuję)",
        object=r"instrukcj|broni\b|przemoc|narkoty|wybuchow|haker|hakow|wirus|treści|"
        "prośb|z tym|w tym|tego (?:pytania|typu|rodzaju)|to pytanie|żądani|nielegaln|szkodliw|osobist|osobow|"
        "czasie rzeczywistym|internet|obraz|medyczn|prawn|bez dodatkow|takiej|takich",
        declines=r"muszę (?:\w+ )?odmówić|wolę nie (?:odpowiadać|rozmawiać|mówić|komentować)|(?:wolałbym|"
        r"wolałabym) nie (?:odpowiadać|rozmawiać)|odmawiam (?:odpowiedzi|pomocy|udzielenia)",
    ),
    "vi": Voice(
        first="xin tôi rất tiếc thật là với mình chúng không em",
        sorry="(?:tôi )?(?:rất |thành thật |thật )?(?:xin lỗi|lấy làm tiếc|tiếc)(?: bạn)?(?: rằng)?|tiếc là|rất tiếc|"
        "tôi (?:rất )?tiếc",
        refused=r"(?:tôi|mình|chúng tôi|em)~\bkhông (?:thể|có khả năng|được phép|đủ khả năng)\b~\b(?:giúp|hỗ trợ|"
        r"trả lời|cung cấp|tạo|viết|đáp ứng|thực hiện|truy cập|chia sẻ|xử lý|đưa ra|hoàn thành|thảo luận|hiển thị|"
        r"làm (?:điều|việc|vậy|như))\b|(?:tôi|mình)~\bkhông có (?:quyền|khả năng|đủ thông tin|quyền truy cập|"
        r"thông tin)|(?:tôi|mình) (?:cần|cần có) thêm (?:thông tin|chi tiết|ngữ cảnh)|không thể (?:giúp|hỗ trợ|"
        r"trả lời|đáp ứng|cung cấp)",
        machine=r"(?:là|với tư cách là|với vai trò là|tôi (?:chỉ )?là)(?: một)?(?: ai\b(?=,| tôi)|"
        r" ?(?:trí tuệ nhân tạo|mô hình (?:ngôn ngữ|ai)|trợ lý (?:ảo|ai)|chương trình ai|hệ thống ai|chatbot))",
        lacks=r"\bkhông (?:thể|có|được|phải|đủ)",
        object=r"hướng dẫn|vũ khí|bạo lực|ma túy|chất nổ|"
        "yêu cầu|điều (?:này|đó)|việc (?:này|đó)|câu hỏi (?:này|đó)|bất hợp pháp|có hại|cá nhân|"
        "thời gian thực|internet|hình ảnh|y tế|pháp lý|vấn đề này|nội dung (?:này|đó)",
        declines="tôi (?:phải|xin|buộc phải)(?: phép)? từ chối|tôi (?:không muốn|xin phép không) (?:trả lời|"
        "thảo luận|bình luận)",
    ),
    "id": Voice(
        first="maaf mohon saya sayangnya sebagai kami aku dengan permintaan",
        sorry="(?:saya |kami |aku )?(?:mohon |minta |meminta )?maaf(?:kan saya)?|sayangnya|"
        "(?:saya )?(?:turut )?menyesal|dengan menyesal",
        refused=r"(?:saya|kami|aku)~\b(?:tidak|tak|belum) (?:dapat|bisa|mampu|akan|diizinkan)\b~\b(?:membantu|"
        r"menjawab|memberikan|menyediakan|menghasilkan|membuat|menulis|mengakses|memenuhi|memproses|membagikan|"
        r"melakukan|menampilkan|mendiskusikan|melayani|mendukung|menyelesaikan)|(?:saya|kami|"
        r"aku)~\btidak (?:memiliki|punya|mempunyai) (?:akses|kemampuan|informasi|izin|cukup)|(?:saya|"
        r"kami) (?:membutuhkan|memerlukan|butuh|perlu) (?:lebih banyak )?(?:informasi|detail|konteks)|"
        r"tidak dapat (?:membantu|menjawab|memenuhi)",
        machine=r"(?:sebagai|saya (?:hanya(?:lah)? |adalah )?)(?: ?sebuah | ?seorang )? ?(?:ai\b|kecerdasan buatan|"
        r"model (?:bahasa|ai)|asisten (?:virtual|ai|digital)|chatbot)",
        lacks=r"\b(?:tidak|tak|belum)\b",
        object=r"instruksi|petunjuk|senjata|kekerasan|narkoba|peledak|konten|"
        r"permintaan|hal (?:ini|itu|tersebut)|itu\b|pertanyaan (?:ini|itu|tersebut|anda)|ilegal|berbahaya|"
        r"pribadi|real-?time|waktu nyata|internet|gambar|medis|hukum|tanpa informasi|semacam|dengan itu",
        declines="saya (?:harus|terpaksa) (?:dengan hormat )?menolak|saya (?:lebih (?:memilih|suka)|"
        "memilih) (?:untuk )?tidak (?:menjawab|membahas|membicarakan)",
    ),
}
