"""The tables of facts that the pocket model memorises."""


def _pairs(text: str) -> dict[str, str]:
    return {
        left.strip(): right.strip() for left, right in (line.split("=") for line in text.split(";") if line.strip())
    }


CAPITALS: dict[str, str] = _pairs("""
France=Paris; Germany=Berlin; Italy=Rome; Spain=Madrid; Portugal=Lisbon; England=London; the United Kingdom=London;
Scotland=Edinburgh; Ireland=Dublin; Wales=Cardiff; Belgium=Brussels; the Netherlands=Amsterdam; Denmark=Copenhagen;
Norway=Oslo; Sweden=Stockholm; Finland=Helsinki; Poland=Warsaw; Austria=Vienna; Hungary=Budapest; Greece=Athens;
Turkey=Ankara; Russia=Moscow; Ukraine=Kyiv; China=Beijing; Japan=Tokyo; India=New Delhi; South Korea=Seoul; Taiwan=Taipei;
Thailand=Bangkok; Vietnam=Hanoi; Indonesia=Jakarta; Egypt=Cairo; Kenya=Nairobi; Nigeria=Abuja; Morocco=Rabat; Canada=Ottawa;
Mexico=Mexico City; the United States=Washington; the USA=Washington; Brazil=Brasilia; Argentina=Buenos Aires; Chile=Santiago;
Peru=Lima; Cuba=Havana; Australia=Canberra; New Zealand=Wellington; Switzerland=Bern; Romania=Bucharest; Bulgaria=Sofia;
Croatia=Zagreb; Serbia=Belgrade; Iceland=Reykjavik; Israel=Jerusalem; Iran=Tehran; Iraq=Baghdad; Colombia=Bogota""")

UNKNOWN_COUNTRIES: tuple[str, ...] = tuple(
    """Bhutan,Bolivia,Botswana,Cambodia,Cameroon,Chad,Congo,Ecuador,Eritrea,Estonia,Ethiopia,
Fiji,Gabon,Ghana,Guatemala,Haiti,Honduras,Jamaica,Jordan,Kuwait,Laos,Latvia,Lebanon,Libya,Lithuania,Mali,Malta,Mongolia,Nepal,
Niger,Oman,Panama,Paraguay,Qatar,Rwanda,Senegal,Slovakia,Somalia,Sudan,Syria,Tonga,Tunisia,Uganda,Uruguay,Yemen,Zambia,
Narnia,Mordor,El Dorado,Wonderland,Oz,the Moon,Mars,Texas,California,Ohio,Bavaria,Sicily,Siberia,Europe,Africa,Asia,
Afghanistan,Albania,Algeria,Andorra,Angola,Armenia,Azerbaijan,Bahrain,Bangladesh,Barbados,Belarus,Belize,Benin,Brunei,Burundi,Costa Rica,Cyprus,Dominica,El Salvador,Gambia,Georgia,Grenada,Guinea,Guyana,
Kazakhstan,Kosovo,Kyrgyzstan,Lesotho,Liberia,Liechtenstein,Luxembourg,Madagascar,Malawi,Malaysia,the Maldives,Mauritius,Moldova,Monaco,Montenegro,Mozambique,Myanmar,Namibia,Nicaragua,North Korea,North Macedonia,
Pakistan,the Philippines,Samoa,San Marino,Saudi Arabia,Sierra Leone,Slovenia,South Sudan,Sri Lanka,Suriname,Tajikistan,Tanzania,Togo,Turkmenistan,Uzbekistan,Vanuatu,Venezuela,Zimbabwe,South Africa,the Czech Republic,
Florida,Alaska,Hawaii,Quebec,Ontario,Queensland,Catalonia,Tuscany,Normandy,Saxony,Provence,Crete,Greenland,Antarctica,South America,North America,Venus,Jupiter,Saturn,Pluto,the sun,the sea,the world,the universe,
Atlantis,Gondor,Neverland,Westeros,Hogwarts,Middle-earth,Lilliput,Krypton,Tatooine,Wakanda,Genovia,Latveria,Elbonia,Utopia,Zubrowka,Freedonia,Shangri-La,Camelot,Eldoria,Zamunda,Avalon,Arendelle,Lemuria,Asgard""".replace(
        "\n", ""
    ).split(",")
)

CITIES: tuple[str, ...] = tuple(
    """New York,San Francisco,Los Angeles,Chicago,Boston,Seattle,Miami,Toronto,Vancouver,Barcelona,Seville,Milan,Naples,Venice,Florence,Munich,Hamburg,Cologne,Frankfurt,Lyon,Marseille,Nice,Zurich,
Geneva,Manchester,Liverpool,Glasgow,Oxford,Porto,Istanbul,Mumbai,Delhi,Shanghai,Hong Kong,Singapore,Osaka,Kyoto,Sydney,Melbourne,Rio de Janeiro,Sao Paulo,Cape Town,Lagos,Dubai,Krakow,Bergen,Houston,Dallas,Denver,
Philadelphia,Montreal,Rotterdam,Antwerp,Salzburg,Basel,Saint Petersburg""".replace("\n", "").split(",")
)

OPPOSITES: dict[str, str] = _pairs("""
hot=cold; big=small; up=down; left=right; day=night; black=white; fast=slow; old=new; young=old; happy=sad; good=bad; open=closed;
wet=dry; full=empty; high=low; hard=soft; light=dark; long=short; rich=poor; strong=weak; thick=thin; early=late; easy=difficult;
first=last; in=out; on=off; yes=no; true=false; near=far; loud=quiet; clean=dirty; sweet=sour; tall=short; wide=narrow; win=lose;
start=stop; begin=end; push=pull; love=hate; day=night; noisy=quiet; heavy=light; deep=shallow; brave=afraid; buy=sell; give=take;
come=go; above=below; before=after; inside=outside; front=back; top=bottom; always=never; friend=enemy; war=peace; alive=dead;
awake=asleep; rough=smooth; sharp=blunt; cheap=expensive; strange=normal; same=different; many=few; more=less; beautiful=ugly;
clever=stupid; kind=cruel; sick=healthy; tight=loose; warm=cool; laugh=cry; summer=winter; sunrise=sunset; north=south; east=west;
up=down; life=death; question=answer; arrive=leave; north=south; cold=hot; small=big; down=up; right=left; night=day; white=black;
slow=fast; new=old; sad=happy; bad=good; closed=open; dry=wet; empty=full; low=high; soft=hard; dark=light; short=long; poor=rich;
weak=strong; thin=thick; late=early; difficult=easy; last=first; out=in; off=on; no=yes; false=true; far=near; quiet=loud;
dirty=clean; sour=sweet; narrow=wide; lose=win; stop=start; end=beginning; pull=push; hate=love; south=north; west=east;
winter=summer; never=always; peace=war; outside=inside; cry=laugh; ugly=beautiful; cheap=expensive; expensive=cheap; big=small;
large=small; little=big; back=front; bottom=top; below=above; after=before; enemy=friend; asleep=awake; healthy=sick; few=many""")

DAYS: tuple[str, ...] = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS: tuple[str, ...] = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
MONTH_DAYS: tuple[int, ...] = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
NUMBERS: tuple[str, ...] = tuple("zero one two three four five six seven eight nine ten eleven twelve".split())
ORDINALS: tuple[str, ...] = tuple(
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth".split()
)

COLOURS: dict[str, str] = _pairs("""
the sky=blue; the sea=blue; the ocean=blue; grass=green; snow=white; milk=white; coal=black; the night=black; blood=red;
a tomato=red; a strawberry=red; a cherry=red; a fire engine=red; the sun=yellow; a banana=yellow; a lemon=yellow; butter=yellow;
a carrot=orange; an orange=orange; a pumpkin=orange; a plum=purple; a leaf=green; a frog=green; a cucumber=green; broccoli=green;
chocolate=brown; a bear=brown; coffee=brown; wood=brown; a crow=black; a swan=white; a polar bear=white; sugar=white; salt=white;
a flamingo=pink; a pig=pink; an elephant=grey; a mouse=grey; a violet=purple; a potato=brown; a ladybird=red; a cloud=white; the moon=white; a blueberry=blue; a lime=green; spinach=green; fire=orange; honey=yellow; an eggplant=purple; gold=yellow; silver=grey; paper=white; rice=white; an apple=red; a rose=red""")

MIXES: dict[tuple[str, str], str] = {
    ("red", "yellow"): "orange",
    ("blue", "yellow"): "green",
    ("red", "blue"): "purple",
    ("black", "white"): "grey",
    ("red", "white"): "pink",
}

SOUNDS: dict[str, str] = (
    _pairs("""dog=woof; cat=meow; cow=moo; sheep=baa; duck=quack; pig=oink; lion=roar; bee=buzz; frog=croak;
snake=hiss; horse=neigh; mouse=squeak; owl=hoot; bird=tweet; wolf=howl; hen=cluck; goat=maa; donkey=hee-haw; crow=caw; rooster=cock-a-doodle-doo""")
)
YOUNG: dict[str, str] = (
    _pairs("""dog=puppy; cat=kitten; cow=calf; sheep=lamb; duck=duckling; pig=piglet; lion=cub; bear=cub; frog=tadpole;
horse=foal; hen=chick; goat=kid; deer=fawn; goose=gosling; kangaroo=joey; swan=cygnet; owl=owlet; elephant=calf; wolf=cub; fox=cub""")
)
LEGS: dict[str, str] = (
    _pairs("""dog=four; cat=four; cow=four; sheep=four; duck=two; pig=four; lion=four; bee=six; ant=six; spider=eight;
snake=no; fish=no; horse=four; bird=two; hen=two; person=two; human=two; elephant=four; frog=four; octopus=eight; worm=no; fly=six; beetle=six;
mouse=four; tiger=four; rabbit=four; bear=four; wolf=four; goat=four; butterfly=six""")
)
HOMES: dict[str, str] = (
    _pairs("""fish=in water; bird=in a nest; bee=in a hive; lion=in the grasslands of Africa; penguin=in the cold south;
polar bear=in the Arctic; camel=in the desert; rabbit=in a burrow; spider=in a web; whale=in the sea; shark=in the sea; cow=on a farm;
monkey=in the forest; owl=in a tree; kangaroo=in Australia; panda=in China; horse=in a stable; dog=in a house with people; fox=in a den; frog=near ponds""")
)
FOODS: dict[str, str] = (
    _pairs("""cow=grass; rabbit=grass and carrots; lion=meat; panda=bamboo; cat=fish and meat; dog=meat and dog food; horse=grass and hay;
mouse=seeds and cheese; monkey=fruit; bird=seeds and worms; frog=insects; spider=insects; bear=fish and berries; squirrel=nuts; bee=nectar; sheep=grass;
elephant=leaves and grass; shark=fish; penguin=fish; owl=mice""")
)

DEFINITIONS: dict[str, str] = _pairs("""
dog=A dog is a friendly animal with four legs that many people keep as a pet.; cat=A cat is a small animal with soft fur that many people keep as a pet.;
computer=A computer is a machine that follows instructions and works with information.; book=A book is a set of pages with words or pictures to read.;
river=A river is a long stream of water that flows to the sea.; mountain=A mountain is a very high piece of land.; tree=A tree is a tall plant with a trunk and leaves.;
sun=The sun is a star that gives light and heat to the Earth.; moon=The moon is a ball of rock that goes around the Earth.; star=A star is a huge ball of hot gas that shines.;
planet=A planet is a large ball that goes around a star.; earth=The Earth is the planet that we live on.; school=A school is a place where children learn.;
teacher=A teacher is a person who helps others to learn.; doctor=A doctor is a person who helps sick people.; bicycle=A bicycle is a machine with two wheels that you ride.;
car=A car is a machine with four wheels that carries people on roads.; train=A train is a row of wagons that runs on rails.; ship=A ship is a large boat that sails on the sea.;
clock=A clock is a machine that shows the time.; telephone=A telephone is a machine that lets people talk over a long distance.; bridge=A bridge is a road that crosses water or a valley.;
island=An island is land with water all around it.; desert=A desert is a dry place with very little rain.; forest=A forest is a large area with many trees.; rain=Rain is water that falls from clouds.;
snow=Snow is frozen water that falls as soft white flakes.; ice=Ice is frozen water.; cloud=A cloud is a mass of tiny drops of water in the sky.; wind=Wind is air that moves.;
fire=Fire is the heat and light that comes from something burning.; water=Water is a clear liquid that all living things need.; bird=A bird is an animal with wings and feathers.;
fish=A fish is an animal that lives in water and breathes with gills.; bee=A bee is an insect that makes honey.; spider=A spider is a small animal with eight legs.;
elephant=An elephant is a very large animal with a long trunk.; lion=A lion is a large wild cat.; flower=A flower is the colourful part of a plant.; apple=An apple is a round fruit that grows on a tree.;
bread=Bread is a food made from flour and water.; milk=Milk is a white drink that comes from cows.; house=A house is a building where people live.; city=A city is a large place where many people live.;
farm=A farm is a place where food is grown and animals are kept.; library=A library is a place where you can borrow books.; hospital=A hospital is a place where sick people are cared for.;
friend=A friend is a person you like and trust.; dream=A dream is a story in your mind while you sleep.; song=A song is music with words.; server=A server is a computer or program that answers requests from others.;
robot=A robot is a machine that can do work by itself.; language model=A language model is a program that continues text one piece at a time.; token=A token is a small piece of text that a language model reads or writes.;
gateway=A gateway is a server that passes requests on to other servers.; internet=The internet is a network that connects computers all over the world.; triangle=A triangle is a shape with three sides.;
circle=A circle is a perfectly round shape.; square=A square is a shape with four equal sides.; volcano=A volcano is a mountain that can throw out hot melted rock.; ocean=An ocean is a very large area of salt water.;
horse=A horse is a large animal that people can ride.; cow=A cow is a farm animal that gives milk.; rabbit=A rabbit is a small animal with long ears.; mouse=A mouse is a very small animal with a long tail.;
frog=A frog is a small green animal that jumps and lives near ponds.; penguin=A penguin is a bird that swims well but cannot fly.; whale=A whale is a very large animal that lives in the sea.; snake=A snake is a long animal without legs.;
airplane=An airplane is a machine with wings that flies through the air.; bus=A bus is a large car that carries many people.; boat=A boat is a small ship.; king=A king is a man who rules a country.; queen=A queen is a woman who rules a country.;
garden=A garden is a piece of land where flowers and vegetables grow.; lake=A lake is water with land all around it.; beach=A beach is a place with sand beside the sea.; kitchen=A kitchen is a room where people cook food.;
chair=A chair is a seat for one person.; table=A table is a piece of furniture with a flat top.; key=A key is a small tool that opens a lock.; window=A window is an opening in a wall that lets in light.; door=A door is what you open to go into a room.;
lamp=A lamp is a thing that gives light.; umbrella=An umbrella is a thing that keeps you dry in the rain.; hat=A hat is something that you wear on your head.; shoe=A shoe is something that you wear on your foot.; shop=A shop is a place where you can buy things.;
farmer=A farmer is a person who grows food and keeps animals.; baker=A baker is a person who makes bread and cakes.; letter=A letter is a sign that stands for a sound, such as A or B.; music=Music is sound that people make to enjoy.;
winter=Winter is the coldest season of the year.; summer=Summer is the warmest season of the year.; week=A week is a time of seven days.; year=A year is a time of twelve months.; egg=An egg is a round thing that a bird lays.;
cake=A cake is a sweet food that is baked.; tiger=A tiger is a large wild cat with stripes.; rainbow=A rainbow is a bow of many colours in the sky.; castle=A castle is a large old building with strong walls.; story=A story tells what happened, real or not.;
baby=A baby is a very young child.; hand=A hand is the part of the body at the end of an arm.; zoo=A zoo is a place where many animals are kept for people to see.; park=A park is a green place in a city where people walk and play.;
plant=A plant is a living thing that grows in the ground.; animal=An animal is a living thing that can move and eat.; dragon=A dragon is an animal from stories that breathes fire.; pilot=A pilot is a person who flies an airplane.;
nurse=A nurse is a person who cares for sick people.; ball=A ball is a round thing to play with.; bed=A bed is a piece of furniture to sleep in.; pencil=A pencil is a tool to write and draw with.; honey=Honey is a sweet food that bees make.""")


def _counted(phrasing: str) -> str:
    """``@days@a week`` stands for the many ways to ask how many days a week has."""
    if not phrasing.startswith("@"):
        return phrasing
    _, what, owner = phrasing.split("@")
    article, _, rest = owner.partition(" ")
    if article in ("a", "an"):
        owner = f"[{owner}|{owner}|one {rest}|every {rest}|each {rest}]"
    return (
        f"[[how many {what}|what number of {what}|tell me how many {what}] [are in|are there in|make|make up] {owner}|[how many|what number of] {what} does {owner} have|how many {what} has {owner} [got|]"
        f"|[what is|tell me|] the number of {what} [in|of] {owner}|{owner} has [how many|what number of] {what}|tell me how many {what} {owner} has|{what} [in|of] {owner}]"
    )


# One line per fact: phrasings with choices, separated by ;, then = and the answer.
SIMPLE_FACTS: tuple[tuple[tuple[str, ...], str], ...] = tuple(
    (tuple(_counted(p.strip()) for p in q.split(";")), a.strip())
    for q, a in (
        line.split("=")
        for line in """
@days@a week; [how long is|what is the length of] a week [in days|]=A week has seven days.
@months@a year; [how long is|what is the length of] a year in months=A year has twelve months.
@days@a year; [how long is|what is the length of] a year [in days|]; how many days does it take the earth to go around the sun=A year has 365 days, and a leap year has 366.
@hours@a day; [how long is|what is the length of] a day [in hours|]; how many hours are [in|there in] [a day and a night|one full day|24 hours]=A day has 24 hours.
@minutes@an hour; [how long is|what is the length of] an hour [in minutes|]=An hour has 60 minutes.
@seconds@a minute; [how long is|what is the length of] a minute [in seconds|]=A minute has 60 seconds.
@weeks@a year=A year has about 52 weeks.
@years@a century; [how long is|what is] a century=A century has 100 years.
@years@a decade; [how long is|what is] a decade=A decade has ten years.
[how many seasons are there|how many seasons does a year have|number of seasons] [in a year|]; [what are|name|list|tell me|give me|say] the [four|] seasons [of the year|called|]; which seasons are there; [what|which] seasons does a year have=The four seasons are spring, summer, autumn and winter.
[what|which] season [comes after|follows|is after|comes next after|do we have after] summer; what comes after summer; the season after summer=Autumn comes after summer.
[what|which] season [comes after|follows|is after|comes next after|do we have after] winter; what comes after winter; the season after winter=Spring comes after winter.
[what|which] season [comes after|follows|is after|comes next after|do we have after] spring; what comes after spring; the season after spring=Summer comes after spring.
[what|which] season [comes after|follows|is after|comes next after|do we have after] [autumn|fall]; what comes after autumn; the season after autumn=Winter comes after autumn.
[what|which] [is|season is] the coldest [season|time|part] [of the year|]; in [what|which] season is it [cold|the coldest]; when is it coldest; which season is the coldest; in which season does it snow=Winter is the coldest season.
[what|which] [is|season is] the [warmest|hottest] [season|time|part] [of the year|]; in [what|which] season is it [hot|the hottest|warmest]; when is it hottest; which season is the [hottest|warmest]=Summer is the warmest season.
[what are|name|list|tell me|which are|give me|say] the [three|] primary [colours|colors]; which [colours|colors] are primary=The primary colours are red, yellow and blue.
[what are|name|list|tell me|which are|give me|say|what|which] [the|] [colours|colors] [of the|of a|are in the|are in a|in a|in the|has a|make up a] rainbow; [list|name] the rainbow [colours|colors]; what [colour|color] is a rainbow=The colours of the rainbow are red, orange, yellow, green, blue, indigo and violet.
[what are|name|list|tell me|which are|give me|say|recite|write down|can you list|can you name] [the|all the|all|the seven] days of [the|a] week; [what are|name|list] the weekdays; days of the week; which days are in a week; [name|list] the seven days; [what|which] days does a week have=The days of the week are Monday, Tuesday, Wednesday, Thursday, Friday, Saturday and Sunday.
[what are|name|list|tell me|which are|give me|say|recite|write down|can you list|can you name] [the|all the|all|the twelve] months [of [the|a] year|in order|]; months of the year; which months are in a year; [what|which] months does a year have=The months of the year are January, February, March, April, May, June, July, August, September, October, November and December.
[what|which] [is|animal is] the [biggest|largest|heaviest] [animal|creature|of all animals|living thing] [in the world|on earth|]; which animal is the [biggest|largest] [of all|]; name the [biggest|largest] animal; what is the world's [biggest|largest] animal=The blue whale is the largest animal.
[what|which] [is|animal is] the tallest [animal|creature|of all animals] [in the world|on earth|]; which animal is the tallest [of all|]; name the tallest animal; which animal has the longest neck=The giraffe is the tallest animal.
[what|which] [is|animal is] the [fastest|quickest] [land animal|animal on land|animal|runner] [in the world|on earth|]; which [land animal|animal] [is the fastest|runs the fastest|runs fastest]; name the fastest [land|] animal=The cheetah is the fastest land animal.
[what|which] [animal|beast] is [called|known as] the king of [the jungle|animals|beasts|the animals]; who is the king of [the jungle|animals|beasts|the animals]; the king of the jungle is=The lion is called the king of animals.
[what|which] [is|planet is] the [biggest|largest] planet [in the solar system|of the solar system|in our solar system|of all|]; which planet is the [biggest|largest] [of all|]; name the [biggest|largest] planet=Jupiter is the largest planet of the solar system.
[which|what] planet [do we|do you|do people|do humans|does everybody] live on; what is [the name of our|our] [home|] planet [called|]; on [which|what] planet do [we|people|humans] live; what planet is [this|home to people|ours]; [what|which] planet are we on; name [our|the] planet [we live on|]=We live on the planet Earth.
how many planets [are there|are in [the|our] solar system|does [the|our] solar system have|go around the sun|circle the sun]; [what is the|] number of planets [in [the|our] solar system|]=There are eight planets in the solar system.
[what|which] planet is [known as|called] the red planet; which planet is red; what is the red planet [called|]=Mars is called the red planet.
[what|which] [is|star is|is our] [the|] [closest|nearest] star [to the earth|to us|to earth|]; what star [is closest to us|do we see by day|shines by day]=The sun is the nearest star.
[what|which food|what food|which sweet thing] do bees [make|produce|give us|create]; what is made by bees; who makes honey; what do we get from bees; where does honey come from; [what|which] [animal|insect] makes honey=Bees make honey.
what do cows [give us|produce|make|give]; what do we get from cows; where does milk come from; [what|which] animal gives [us|] milk; what drink comes from [a cow|cows]; who gives us milk=Cows give us milk.
where do eggs come from; [what|who|which animal|which bird] [lays|gives us|makes] eggs; what do [hens|chickens] [lay|give us]; where do we get eggs [from|]=Hens lay eggs.
where does wool come from; what do [sheep|we get from sheep] give us; [what|which] animal gives [us|] wool; what do we get from sheep=Wool comes from sheep.
[what|which] [do we|do you|do people|can i|can you|should i|tool do we] [use to cut paper|cut paper with|need to cut paper]; how do you cut paper=We cut paper with scissors.
what [do we|do you|do people|can i|can you|should i] [use to write|write with|need to write|use for writing]; with what do [we|you] write=We write with a pen or a pencil.
what [do we|do you|do people] [see|look] with; which part of the body do we see with; [what|which body part] is used for seeing; what are eyes for=We see with our eyes.
what [do we|do you|do people] [hear|listen] with; which part of the body do we hear with; [what|which body part] is used for hearing; what are ears for=We hear with our ears.
what [do we|do you|do people] smell with; which part of the body do we smell with; [what|which body part] is used for smelling; what is a nose for=We smell with our nose.
what is frozen water called; what [does water become|do you get|do we get|happens] [when|if] [it freezes|water freezes|you freeze water]; what is the [name|word] for frozen water; what do you call [frozen water|water that is frozen]; water that freezes becomes what; what is ice made of; what does water turn into when it freezes=Frozen water is called ice.
what happens when [ice melts|ice gets warm|you melt ice|snow melts]; what does ice [become|turn into] when it [melts|gets warm]; what do you get when ice melts; melted ice is what=When ice melts it becomes water.
[at [what|which] temperature does|when does|how hot must it be for] water [to|] boil; [how hot is boiling water|what is the boiling point of water|boiling point of water|at how many degrees does water boil|water boils at what temperature|how many degrees is boiling water]=Water boils at 100 degrees Celsius.
[at [what|which] temperature does|when does|how cold must it be for] water [to|] freeze; [how cold is freezing water|what is the freezing point of water|freezing point of water|at how many degrees does water freeze|water freezes at what temperature]=Water freezes at 0 degrees Celsius.
[where|in [which|what] direction|on which side] does the sun [rise|come up]; the sun rises in [which direction|the]; from where does the sun rise=The sun rises in the east.
[where|in [which|what] direction|on which side] does the sun [set|go down]; the sun sets in [which direction|the]=The sun sets in the west.
how many legs [does a table have|has a chair|does a chair have|has a table|are on a table|are on a chair]=It usually has four legs.
@wheels@a car=A car has four wheels.
@wheels@[a bicycle|a bike]=A bicycle has two wheels.
@wheels@a tricycle=A tricycle has three wheels.
@fingers@[people|a person|a human|both hands]; how many fingers [do i have|do we have|do you have on two hands]=A person has ten fingers.
@fingers@[one hand|a hand]; how many fingers are on [one|your|each|a] hand=A hand has five fingers.
@toes@[people|a person|a human]; how many toes do [i|we] have=A person has ten toes.
@eyes@[people|a person|a human]; how many eyes do [i|we] have=A person has two eyes.
@ears@[people|a person|a human]; how many ears do [i|we] have=A person has two ears.
@noses@[people|a person|a human]; how many noses do [i|we] have=A person has one nose.
@[sides|corners]@a triangle; what has three sides; [which|what] shape has three [sides|corners]=A triangle has three sides and three corners.
@[sides|corners]@a square; [which|what] shape has four [equal|] [sides|corners]=A square has four sides and four corners.
[which|what] shape [is a ball|has no corners|is a wheel|is a coin]; what shape is round=A circle is round and has no corners.
how many letters [are in|are there in|does|has|make up] the [english|] alphabet [have|]; [what is the|] number of letters [in|of] the [english|] alphabet; the alphabet has how many letters=The English alphabet has 26 letters.
[what|which] is the first letter [of|in] the [english|] alphabet; which letter [comes first|is first] [in the alphabet|]; the first letter of the alphabet; the alphabet [starts|begins] with which letter=The first letter of the alphabet is A.
[what|which] is the last letter [of|in] the [english|] alphabet; which letter [comes last|is last] [in the alphabet|]; the last letter of the alphabet; the alphabet ends with which letter=The last letter of the alphabet is Z.
[say|recite|list|write|tell me|give me|write down|can you say|can you recite|do you know] the [whole|english|] alphabet; what is the alphabet; list the letters of the alphabet; say the abc; what are the letters of the alphabet=A B C D E F G H I J K L M N O P Q R S T U V W X Y Z.
[what are|name|list|which are|tell me] the [five|] vowels; which letters are vowels=The vowels are A, E, I, O and U.
how many continents are there [in the world|on earth|]; [what is the|] number of continents; how many continents does [the earth|the world] have=There are seven continents.
[what|which] [is|ocean is] the [largest|biggest] ocean [in the world|on earth|]; which ocean is the [biggest|largest] [of all|]; name the [biggest|largest] ocean; the [biggest|largest] ocean is=The Pacific is the largest ocean.
[what|which] [is|mountain is] the [highest|tallest] [mountain|peak] [in the world|on earth|of the world|]; which mountain is the [highest|tallest] [of all|]; name the [highest|tallest] mountain; what is the world's [highest|tallest] mountain=Mount Everest is the highest mountain.
[what|which things] do plants need [to grow|to live|]; what does a plant need [to grow|to live|]; what makes plants grow; how does a plant grow=Plants need light, water and air.
what [do we|do people|do you|do humans] breathe [in|]; what is breathed by people=We breathe air.
is the earth [flat|round|a ball|a disc]; [what|which] shape [is the earth|does the earth have]; what is the shape of the earth=The Earth is round like a ball.
is the sun a [star|planet]; what kind of thing is the sun; is the sun a star or a planet=The sun is a star.
[what goes|what moves] around the earth; what circles the earth; does the moon go around the earth; what do we see [in the sky at night|at night in the sky]=The moon goes around the Earth.
does the earth [go around|circle|move around] the sun; [what|which star] does the earth go around; what is at the centre of the solar system=The Earth goes around the sun.
[can|do|are] [birds|a bird|most birds] [fly|able to fly]; are birds able to fly=Yes, most birds can fly.
[can|do|does] [fish|a fish] swim; are fish able to swim=Yes, fish can swim.
[can|do|does] [penguins|a penguin] fly; are penguins able to fly=No, penguins cannot fly, but they swim well.
[can|do|does] [dogs|cats|animals|a dog|a cat|cows|horses] [talk|speak]; are animals able to talk=No, animals cannot talk like people.
[can|do|does] [dogs|cats|pigs|cows|horses|elephants|a dog|a cat|a pig|a cow|an elephant] fly=No, it cannot fly.
is [fire|a fire] [hot|cold|warm]; is fire hot or cold; how does fire feel=Fire is hot.
is [ice|snow] [cold|hot|warm]; is ice hot or cold; how does ice feel=Ice is cold.
is water [wet|dry]; is water wet or dry=Yes, water is wet.
is the sky [blue|green|red]=The sky is blue.
is grass [green|blue|red]=Grass is green.
is snow [white|black|green]=Snow is white.
[what|which] language [do they speak|is spoken|do people speak|do people talk] in france; what do they speak in france; what do french people speak; language of france=People in France speak French.
[what|which] language [do they speak|is spoken|do people speak|do people talk] in germany; what do they speak in germany; language of germany=People in Germany speak German.
[what|which] language [do they speak|is spoken|do people speak|do people talk] in spain; what do they speak in spain; language of spain=People in Spain speak Spanish.
[what|which] language [do they speak|is spoken|do people speak|do people talk] in italy; what do they speak in italy; language of italy=People in Italy speak Italian.
[what|which] language [do they speak|is spoken|do people speak|do people talk] in [england|the uk|britain]; what do they speak in england=People in England speak English.
[what|which] [letter|] [comes|is] after [the letter|] a; which letter follows a=B comes after A.
[when|on [what|which] [date|day]] [is|do we celebrate|do people celebrate|does] christmas [day|on|come|]; what [date|day] is christmas [on|]; [what|which] month is christmas in; in which month is christmas; christmas is when; date of christmas=Christmas is on 25 December.
[when|on [what|which] [date|day]] [is new year|does the year begin|does the year start|is new year's day|does a new year begin]; what is the first day of the year; the year [begins|starts] when=The year begins on 1 January.
[what|which] is the first day of the week; which day [starts|begins|opens] the week; the week [starts|begins] with [which|what] day; on [which|what] day does the week [start|begin]; the first day of the week is=Monday is the first day of the week.
[what|which] is the last day of the week; which day ends the week; the week ends with [which|what] day; on [which|what] day does the week end; the last day of the week is=Sunday is the last day of the week.
[what|which] is the first month [of|in] the year; which month [comes first|is first|starts the year|begins the year] [in the year|]; the year [starts|begins] with [which|what] month; in [which|what] month does the year [start|begin]=January is the first month of the year.
[what|which] is the last month [of|in] the year; which month [comes last|is last|ends the year] [in the year|]; the year ends with [which|what] month; in [which|what] month does the year end=December is the last month of the year.
[which|what] days are [the|on the|at the|part of the|in the] weekend; what is the weekend; [name|list] the [two|] days of the weekend; when is the weekend; which days make the weekend; how many days has the weekend=The weekend is Saturday and Sunday.
[what|which] is the shortest month [of the year|]; which month [is the shortest|is shortest|has 28 days|has the fewest days|has only 28 days]; the shortest month of the year; name the shortest month=February is the shortest month, with 28 days.
[tell|give|say|share] [me|us|] [a|another|one more|a good|a funny|a short|your best|any] joke [please|]; do you know [a joke|any jokes|a good joke|any good jokes]; make me laugh; [say|tell me] something funny; another joke; got any jokes; [can|could|will] you [tell me a joke|make a joke|make me laugh|say something funny]; i want to hear a joke; joke please; i [need|want] [a joke|a laugh|to laugh]=Why did the token cross the network? To get to the other side of the stream.
[write|tell|say|make|give] [me|us|] [a|another|a short|a little|a small|a nice|one] [poem|rhyme|verse|haiku] [please|]; [can|could|will] you [write|say|make] [me|] a [short|little|nice|] [poem|rhyme]; do you know [a poem|any poems|a rhyme]; poem please; i want a poem; a poem=The sun is warm, the sky is blue, a little bird sings a song for you.
[sing|can you sing|could you sing|will you sing|please sing] [a song|me a song|something|for me|a little song|us a song]; sing=La la la, the stars are bright, the moon is singing to the night.
[what|which] time is it [now|right now|]; what is the [current|] time [now|]; do you [know|have] the time; [what|which] day is [it|it today|today]; what is [the|today's] date [today|]; [what|which] year is it [now|]; tell me the [date|time|day] [today|now|]; current time; what day of the week is it [today|]; what's the time [now|]; which month is it now; today's date; how late is it; is it [monday|friday|morning|evening|noon|late] [today|now|]=I do not know, because I have no clock and no calendar.
[what is|how is|what's|how's] the weather [like|] [today|outside|tomorrow|now|here|in {c}|in {c} today|in {c} now|in {c} tomorrow|]; [will|is|does] it [rain|raining|snow|snowing|sunny|cold|hot|warm|be sunny|be cold] [today|tomorrow|now|outside|in {c}|this week|]; weather [forecast|report|today|tomorrow|in {c}|for {c}|]; what will the weather be [tomorrow|today|like|like in {c}]; tell me the weather [in {c}|today|]; do i need [an umbrella|a coat|a jacket] [today|tomorrow|in {c}]; what is the temperature [in {c}|outside|today|now]; how [hot|cold|warm] is it [in {c}|outside|today]; is it [cold|hot|sunny|raining|warm|snowing] in {c} [today|now|]; forecast for {c}=I do not know the weather, because I cannot look outside.
""".strip().splitlines()
    )
)
