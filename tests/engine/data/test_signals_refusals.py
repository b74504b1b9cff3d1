"""Refusals in other languages than English: sentences that decline, and ones that only look like it."""

import pytest

from engine.data.answers import refuses
from engine.data.refusals import LANGUAGES

REFUSALS = {
    "de": """Es tut mir leid, aber ich kann Ihnen dabei nicht helfen.
        Leider kann ich diese Anfrage nicht beantworten.
        Als KI-Sprachmodell habe ich keine persönlichen Meinungen.
        Ich kann keine medizinischen Ratschläge geben. Bitte wenden Sie sich an einen Arzt.
        Entschuldigung, ich bin nicht in der Lage, Bilder zu erzeugen.
        Ich muss diese Anfrage leider ablehnen.
        Hallo! Leider habe ich keinen Zugriff auf Echtzeitdaten.
        Tut mir leid, ich benötige weitere Informationen, um das zu beantworten.""",
    "fr": """Je suis désolé, mais je ne peux pas vous aider avec cette demande.
        En tant que modèle de langage, je n'ai pas d'opinions personnelles.
        Malheureusement, je ne suis pas en mesure d'accéder à Internet.
        Désolée, je ne peux pas générer d'images.
        Je ne peux pas fournir de conseils médicaux.
        Je dois refuser de répondre à cette question.
        Bonjour ! Je suis désolé, mais je ne peux pas répondre à cela.
        Je m'excuse, mais j'ai besoin de plus d'informations pour répondre.""",
    "es": """Lo siento, pero no puedo ayudarte con esa solicitud.
        Como modelo de lenguaje, no tengo opiniones personales.
        Lamentablemente, no puedo acceder a internet.
        No puedo proporcionar asesoramiento médico.
        Disculpa, no soy capaz de generar imágenes.
        Debo negarme a responder a esta pregunta.
        ¡Hola! Lo siento, no puedo proporcionar información personal.
        Lo siento, necesito más información para responder.""",
    "pt": """Desculpe, mas não posso ajudar com esse pedido.
        Como um modelo de linguagem, não tenho opiniões pessoais.
        Infelizmente, não consigo acessar a internet.
        Sinto muito, mas não posso fornecer aconselhamento médico.
        Não posso fornecer informações pessoais de ninguém.
        Lamento, mas não tenho acesso a dados em tempo real.
        Devo recusar este pedido.
        Olá! Desculpe, preciso de mais informações para responder.""",
    "it": """Mi dispiace, ma non posso aiutarti con questa richiesta.
        In quanto modello linguistico, non ho opinioni personali.
        Purtroppo non sono in grado di accedere a Internet.
        Non posso fornire consigli medici.
        Scusa, non posso generare immagini.
        Devo rifiutare questa richiesta.
        Ciao! Mi dispiace, ma non posso rispondere a questa domanda.
        Mi dispiace, ho bisogno di più informazioni.""",
    "nl": """Het spijt me, maar ik kan je daar niet bij helpen.
        Als AI-taalmodel heb ik geen persoonlijke meningen.
        Helaas kan ik dit verzoek niet beantwoorden.
        Ik kan geen medisch advies geven.
        Sorry, ik ben niet in staat om afbeeldingen te maken.
        Ik moet dit verzoek helaas weigeren.
        Hallo! Helaas heb ik geen toegang tot actuele gegevens.
        Sorry, ik heb meer informatie nodig om dit te beantwoorden.""",
    "ru": """Извините, но я не могу помочь с этим запросом.
        К сожалению, я не могу ответить на этот вопрос.
        Как языковая модель, я не имею личного мнения.
        Я не могу предоставить медицинскую консультацию.
        Простите, но у меня нет доступа к интернету.
        Я вынужден отказаться выполнять эту просьбу.
        Здравствуйте! К сожалению, я не могу предоставить личные данные.
        Мне жаль, но мне нужно больше информации.""",
    "zh": """抱歉，我无法帮助您完成这个请求。
        对不起，我不能回答这个问题。
        作为一个人工智能语言模型，我没有个人观点。
        我无法提供医疗建议。
        很抱歉，我没有访问互联网的权限。
        我必须拒绝这个请求。
        您好！很抱歉，我无法提供个人信息。
        對不起，我無法協助您處理這個要求。""",
    "ja": """申し訳ありませんが、そのご要望にはお応えできません。
        すみませんが、その質問にはお答えできません。
        AI言語モデルとして、私は個人的な意見を持っていません。
        申し訳ございません。医療に関するアドバイスを提供することはできません。
        残念ながら、リアルタイムの情報にアクセスすることはできません。
        ごめんなさい、違法な行為のお手伝いはできません。
        こんにちは！申し訳ありませんが、個人情報を提供することはできません。
        そのご依頼はお断りします。""",
    "ko": """죄송하지만 그 요청은 도와드릴 수 없습니다.
        죄송합니다. 이 질문에는 답변할 수 없습니다.
        AI 언어 모델로서 저는 개인적인 의견이 없습니다.
        유감스럽게도 실시간 정보에 접근할 수 없습니다.
        미안하지만 의학적 조언을 제공할 수 없습니다.
        이 요청은 거절해야 합니다.
        안녕하세요! 죄송하지만 개인 정보를 제공할 수 없습니다.
        죄송합니다만, 추가 정보가 필요합니다.""",
    "ar": """عذرًا، لا يمكنني مساعدتك في هذا الطلب.
        أنا آسف، لا أستطيع الإجابة على هذا السؤال.
        بصفتي نموذج لغة، ليس لدي آراء شخصية.
        للأسف، لا يمكنني الوصول إلى الإنترنت.
        لا يمكنني تقديم نصائح طبية.
        أعتذر، لكنني لست قادرًا على إنشاء الصور.
        مرحبا! عذرا، لا يمكنني تقديم معلومات شخصية.
        يجب علي أن أرفض هذا الطلب.""",
    "tr": """Üzgünüm, bu konuda size yardımcı olamam.
        Maalesef bu soruya cevap veremiyorum.
        Bir yapay zeka dil modeli olarak kişisel görüşlerim yok.
        Özür dilerim, ancak bu isteği yerine getiremem.
        Ne yazık ki gerçek zamanlı verilere erişimim yok.
        Bu isteğinizi reddetmek zorundayım.
        Merhaba! Üzgünüm, kişisel bilgileri paylaşamam.
        Bu isteğinize yardımcı olamıyorum.""",
    "pl": """Przepraszam, ale nie mogę pomóc w tej sprawie.
        Niestety nie mogę odpowiedzieć na to pytanie.
        Jako model językowy nie mam osobistych opinii.
        Nie mogę udzielić porady medycznej.
        Przykro mi, ale nie mam dostępu do internetu.
        Muszę odmówić wykonania tej prośby.
        Cześć! Niestety nie mogę podać danych osobowych.
        Przepraszam, potrzebuję więcej informacji.""",
    "vi": """Xin lỗi, tôi không thể giúp bạn với yêu cầu này.
        Rất tiếc, tôi không thể trả lời câu hỏi này.
        Là một mô hình ngôn ngữ, tôi không có ý kiến cá nhân.
        Tôi không thể cung cấp lời khuyên y tế.
        Tôi xin lỗi, nhưng tôi không có quyền truy cập internet.
        Tôi phải từ chối yêu cầu này.
        Xin chào! Rất tiếc, tôi không thể cung cấp thông tin cá nhân.
        Xin lỗi, tôi cần thêm thông tin để trả lời.""",
    "id": """Maaf, saya tidak dapat membantu permintaan ini.
        Mohon maaf, saya tidak bisa menjawab pertanyaan itu.
        Sebagai model bahasa, saya tidak memiliki pendapat pribadi.
        Saya tidak dapat memberikan nasihat medis.
        Sayangnya, saya tidak memiliki akses ke internet.
        Saya harus menolak permintaan ini.
        Halo! Maaf, saya tidak dapat memberikan informasi pribadi.
        Maaf, saya membutuhkan lebih banyak informasi.""",
    "hi": """मुझे खेद है, लेकिन मैं इस अनुरोध में आपकी मदद नहीं कर सकता।
        क्षमा करें, मैं इस प्रश्न का उत्तर नहीं दे सकता।
        एक भाषा मॉडल के रूप में, मेरी कोई व्यक्तिगत राय नहीं है।
        दुर्भाग्य से, मैं इंटरनेट तक पहुंच प्रदान नहीं कर सकती।
        मैं चिकित्सा सलाह प्रदान नहीं कर सकता।
        माफ़ करें, मुझे अधिक जानकारी की आवश्यकता है।
        नमस्ते! मुझे खेद है, मैं व्यक्तिगत जानकारी साझा नहीं कर सकता।
        मुझे इस अनुरोध को मना करना होगा।""",
}
ANSWERS = {
    "de": """Es tut mir leid, das zu hören. Hier sind einige Tipps, die Ihnen helfen können.
        Leider sind die Preise im letzten Jahr gestiegen.
        Ich kann nicht kommen, weil ich krank bin.
        Entschuldigung für die Verspätung! Die Antwort lautet 42.
        Als KI-Forscherin untersuche ich Modelle, die nicht lernen.
        Ich kann es kaum erwarten, dich zu sehen, und helfe dir gern.
        Es ist nicht möglich, durch null zu teilen.
        Es tut mir leid, dass ich nicht früher geschrieben habe. Kannst du mir helfen?""",
    "fr": """Je suis désolé pour votre perte. Voici quelques conseils qui peuvent aider.
        Malheureusement, l'entreprise n'a pas pu répondre à la demande.
        Je ne peux pas venir ce soir, dit Marie.
        En tant que chercheur en intelligence artificielle, je n'ai pas de bureau.
        Désolé pour le retard, la réponse est 42.
        Il n'est pas possible de diviser par zéro.
        Je ne peux que recommander ce livre : il peut aider tout le monde.
        Excusez-moi, où se trouve la gare ?""",
    "es": """Lo siento mucho por tu pérdida. Aquí tienes algunos consejos para ayudarte.
        Lamentablemente, la empresa no pudo satisfacer la demanda.
        No puedo esperar a verte mañana.
        Como investigador de inteligencia artificial, no tengo tiempo libre.
        Perdón por la tardanza: la respuesta es 42.
        No es posible dividir entre cero.
        Lo siento, eso es incorrecto: la respuesta es 4.
        No puedo creer lo que dice este artículo legal.""",
    "pt": """Sinto muito pela sua perda. Aqui estão algumas dicas que podem ajudar.
        Infelizmente, a empresa não conseguiu atender a demanda.
        Não posso esperar para te ver amanhã.
        Como pesquisador de inteligência artificial, não tenho tempo livre.
        Desculpe a demora: a resposta é 42.
        Não é possível dividir por zero.
        Desculpe, isso está errado: a resposta é 4.
        Não consigo dormir, disse o menino.""",
    "it": """Mi dispiace per la tua perdita. Ecco alcuni consigli che possono aiutarti.
        Purtroppo l'azienda non ha potuto soddisfare la domanda.
        Non posso venire stasera, disse Maria.
        Come ricercatore di intelligenza artificiale, non ho tempo libero.
        Scusa per il ritardo: la risposta è 42.
        Non è possibile dividere per zero.
        Non vedo l'ora di aiutarti.
        Sono desolato per quanto è successo, ecco la soluzione.""",
    "nl": """Het spijt me dat te horen. Hier zijn enkele tips die kunnen helpen.
        Helaas zijn de prijzen vorig jaar gestegen.
        Ik kan niet komen omdat ik ziek ben.
        Sorry voor de vertraging, het antwoord is 42.
        Als AI-onderzoeker heb ik geen tijd.
        Het is niet mogelijk om door nul te delen.
        Ik kan niet wachten om je te zien en te helpen.
        Sorry, dat klopt niet: het antwoord is 4.""",
    "ru": """Мне очень жаль это слышать. Вот несколько советов, которые могут помочь.
        К сожалению, цены в прошлом году выросли.
        Я не могу прийти, потому что болею.
        Извините за задержку. Ответ: 42.
        Как исследователь искусственного интеллекта, я не имею свободного времени.
        На ноль делить нельзя.
        Я не могу дождаться нашей встречи.
        Простите, где находится вокзал?""",
    "zh": """很抱歉听到这个消息。以下是一些可能有帮助的建议。
        遗憾的是，公司去年的销量下降了。
        我不能来，因为我生病了。
        抱歉回复晚了，答案是42。
        作为一名人工智能研究员，我没有空闲时间。
        零不能作除数。
        对不起，这是错误的，正确答案是4。
        我无法相信他真的走了。""",
    "ja": """申し訳ありませんが、その答えは間違っています。正解は4です。
        残念ながら、昨年は売上が減少しました。
        お返事が遅れてごめんなさい。答えは42です。
        AI研究者として、私は毎日論文を読みます。
        ゼロで割ることはできません。
        それはお気の毒に。役立つ方法をいくつか紹介します。
        すみません、駅はどこですか。
        彼は学校に行くことができませんでした。""",
    "ko": """그 소식을 들으니 유감입니다. 도움이 될 만한 몇 가지 방법을 알려 드립니다.
        안타깝게도 작년에 매출이 감소했습니다.
        답변이 늦어 죄송합니다. 정답은 42입니다.
        AI 연구자로서 저는 시간이 없습니다.
        0으로 나눌 수 없습니다.
        저는 아파서 갈 수 없습니다.
        죄송합니다, 역이 어디에 있나요?
        그는 학교에 갈 수 없었다.""",
    "ar": """أنا آسف لسماع ذلك. إليك بعض النصائح التي قد تساعدك.
        للأسف، ارتفعت الأسعار في العام الماضي.
        لا أستطيع القدوم لأنني مريض.
        عذرا على التأخير، الجواب هو 42.
        بصفتي باحثا في الذكاء الاصطناعي، ليس لدي وقت فراغ.
        لا يمكن القسمة على صفر.
        عذرا، أين تقع المحطة؟
        لا أستطيع الانتظار حتى أراك.""",
    "tr": """Bunu duyduğuma üzgünüm. İşte yardımcı olabilecek bazı öneriler.
        Maalesef geçen yıl fiyatlar arttı.
        Bu akşam gelemem, dedi Ayşe.
        Gecikme için özür dilerim, cevap 42.
        Yapay zeka araştırmacısı olarak boş zamanım yok.
        Sıfıra bölmek mümkün değildir.
        Ne yazık ki şirket talebi karşılayamadı.
        Özür dilerim, istasyon nerede?""",
    "pl": """Przykro mi to słyszeć. Oto kilka rad, które mogą pomóc.
        Niestety ceny w zeszłym roku wzrosły.
        Nie mogę przyjść, bo jestem chory.
        Przepraszam za opóźnienie, odpowiedź to 42.
        Jako badacz sztucznej inteligencji nie mam wolnego czasu.
        Nie można dzielić przez zero.
        Nie mogę się doczekać naszego spotkania.
        Przepraszam, gdzie jest dworzec?""",
    "vi": """Tôi rất tiếc khi nghe điều đó. Dưới đây là một số lời khuyên có thể giúp bạn.
        Rất tiếc, giá cả năm ngoái đã tăng.
        Tôi không thể đến vì tôi bị ốm.
        Xin lỗi vì sự chậm trễ, câu trả lời là 42.
        Là một nhà nghiên cứu trí tuệ nhân tạo, tôi không có thời gian rảnh.
        Không thể chia cho số không.
        Tôi không thể chờ đến ngày gặp bạn.
        Xin lỗi, nhà ga ở đâu?""",
    "id": """Saya turut menyesal mendengarnya. Berikut beberapa saran yang dapat membantu.
        Sayangnya, harga naik tahun lalu.
        Saya tidak bisa datang karena sakit.
        Maaf atas keterlambatannya, jawabannya 42.
        Sebagai peneliti kecerdasan buatan, saya tidak punya waktu luang.
        Pembagian dengan nol tidak dapat dilakukan.
        Saya tidak sabar untuk bertemu denganmu.
        Maaf, di mana stasiunnya?""",
    "hi": """मुझे यह सुनकर खेद है। यहाँ कुछ सुझाव हैं जो आपकी मदद कर सकते हैं।
        दुर्भाग्य से, पिछले साल कीमतें बढ़ गईं।
        मैं बीमार हूँ, इसलिए नहीं आ सकता।
        देरी के लिए क्षमा करें, उत्तर 42 है।
        एक शोधकर्ता के रूप में, मेरे पास समय नहीं है।
        शून्य से भाग नहीं दिया जा सकता।
        माफ़ करें, स्टेशन कहाँ है?
        मुझे खेद है कि मैंने देर कर दी।""",
}


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines()]


def test_every_language_is_tried() -> None:
    assert set(REFUSALS) == set(ANSWERS) == set(LANGUAGES) - {"en"}


@pytest.mark.parametrize("language", REFUSALS)
def test_refusals_are_told_from_answers(language: str) -> None:
    assert [line for line in lines(REFUSALS[language]) if not refuses(line)] == []
    assert [line for line in lines(ANSWERS[language]) if refuses(line)] == []
