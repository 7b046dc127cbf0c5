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
Narnia,Mordor,El Dorado,Wonderland,Oz,the Moon,Mars,Texas,California,Ohio,Bavaria,Sicily,Siberia,Europe,Africa,Asia""".replace(
        "\n", ""
    ).split(",")
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
a flamingo=pink; a pig=pink; an elephant=grey; a mouse=grey; gold=yellow; silver=grey; paper=white; rice=white; an apple=red; a rose=red""")

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
circle=A circle is a perfectly round shape.; square=A square is a shape with four equal sides.; volcano=A volcano is a mountain that can throw out hot melted rock.; ocean=An ocean is a very large area of salt water.""")

# One line per fact: phrasings separated by | then = and the answer.
SIMPLE_FACTS: tuple[tuple[tuple[str, ...], str], ...] = tuple(
    (tuple(p.strip() for p in q.split("|")), a.strip())
    for q, a in (
        line.split("=")
        for line in """
how many days are in a week|how many days does a week have|how long is a week=A week has seven days.
how many months are in a year|how many months does a year have|number of months in a year=A year has twelve months.
how many days are in a year|how many days does a year have|how long is a year=A year has 365 days, and a leap year has 366.
how many hours are in a day|how many hours does a day have|how long is a day=A day has 24 hours.
how many minutes are in an hour|how many minutes does an hour have|how long is an hour=An hour has 60 minutes.
how many seconds are in a minute|how many seconds does a minute have|how long is a minute=A minute has 60 seconds.
how many weeks are in a year|how many weeks does a year have=A year has about 52 weeks.
how many seasons are there|what are the seasons|name the four seasons|list the seasons|what are the four seasons called=The four seasons are spring, summer, autumn and winter.
what season comes after summer|which season follows summer=Autumn comes after summer.
what season comes after winter|which season follows winter=Spring comes after winter.
what season comes after spring|which season follows spring=Summer comes after spring.
what season comes after autumn|which season follows autumn=Winter comes after autumn.
what is the coldest season|which season is the coldest=Winter is the coldest season.
what is the warmest season|which season is the hottest|what is the hottest season=Summer is the warmest season.
what are the primary colours|name the primary colours|name the primary colors=The primary colours are red, yellow and blue.
what are the colours of the rainbow|name the colours of the rainbow|what colors are in a rainbow|list the rainbow colours=The colours of the rainbow are red, orange, yellow, green, blue, indigo and violet.
what are the days of the week|name the days of the week|list all the days of the week|tell me the seven days of the week|what are the weekdays=The days of the week are Monday, Tuesday, Wednesday, Thursday, Friday, Saturday and Sunday.
what are the months of the year|name the months|list all the months|list the twelve months=The months are January, February, March, April, May, June, July, August, September, October, November and December.
what is the biggest animal|what is the largest animal in the world|which animal is the biggest=The blue whale is the largest animal.
what is the tallest animal|which animal is the tallest=The giraffe is the tallest animal.
what is the fastest animal|which land animal is the fastest|what is the fastest land animal=The cheetah is the fastest land animal.
what is the biggest planet|which planet is the largest|what is the largest planet=Jupiter is the largest planet of the solar system.
which planet do we live on|what planet do we live on|what is the name of our planet=We live on the planet Earth.
how many planets are there|how many planets are in the solar system|number of planets in our solar system=There are eight planets in the solar system.
what do bees make|what do bees produce=Bees make honey.
what do cows give us|what do we get from cows|where does milk come from=Cows give us milk.
where do eggs come from|what lays eggs=Hens lay eggs.
what do we use to cut paper|what do you cut paper with=We cut paper with scissors.
what do you use to write|what do we write with=We write with a pen or a pencil.
what is frozen water called|what does water become when it freezes|what happens when water freezes=Frozen water is called ice.
what happens when ice melts|what does ice become when it melts=When ice melts it becomes water.
at what temperature does water boil|when does water boil|how hot is boiling water=Water boils at 100 degrees Celsius.
at what temperature does water freeze|when does water freeze=Water freezes at 0 degrees Celsius.
where does the sun rise|in which direction does the sun rise=The sun rises in the east.
where does the sun set|in which direction does the sun set=The sun sets in the west.
how many legs does a table have|how many legs has a chair=It usually has four legs.
how many wheels does a car have|how many wheels are on a car=A car has four wheels.
how many wheels does a bicycle have|how many wheels are on a bike=A bicycle has two wheels.
how many fingers do people have|how many fingers do i have|how many fingers does a person have=A person has ten fingers.
how many eyes does a person have|how many eyes do people have=A person has two eyes.
how many sides does a triangle have|how many corners does a triangle have=A triangle has three sides and three corners.
how many sides does a square have|how many corners does a square have=A square has four sides and four corners.
how many letters are in the alphabet|how many letters does the english alphabet have=The English alphabet has 26 letters.
what is the first letter of the alphabet|which letter comes first in the alphabet=The first letter of the alphabet is A.
what is the last letter of the alphabet|which letter is last in the alphabet=The last letter of the alphabet is Z.
say the alphabet|recite the alphabet|what is the alphabet|list the letters of the alphabet=A B C D E F G H I J K L M N O P Q R S T U V W X Y Z.
how many continents are there|number of continents=There are seven continents.
what is the largest ocean|which ocean is the biggest=The Pacific is the largest ocean.
what is the highest mountain|what is the tallest mountain in the world|which mountain is the highest=Mount Everest is the highest mountain.
what do plants need to grow|what does a plant need=Plants need light, water and air.
what do we breathe|what do people breathe=We breathe air.
is the earth flat|is the earth round|what shape is the earth=The Earth is round like a ball.
is the sun a star|is the sun a planet=The sun is a star.
can birds fly|do birds fly=Yes, most birds can fly.
can fish swim|do fish swim=Yes, fish can swim.
can penguins fly|do penguins fly=No, penguins cannot fly, but they swim well.
can dogs talk|can cats talk|do animals talk=No, animals cannot talk like people.
is fire hot|is fire cold=Fire is hot.
is ice cold|is ice hot|is ice warm=Ice is cold.
is water wet=Yes, water is wet.
what language do they speak in france|which language is spoken in france=People in France speak French.
what language do they speak in germany|which language is spoken in germany=People in Germany speak German.
what language do they speak in spain|which language is spoken in spain=People in Spain speak Spanish.
what comes after a|which letter comes after a=B comes after A.
when is christmas|what date is christmas|what day is christmas on=Christmas is on 25 December.
when is new year|when does the year begin|what is the first day of the year=The year begins on 1 January.
what is the first day of the week|which day starts the week=Monday is the first day of the week.
what is the first month of the year|which month comes first=January is the first month of the year.
what is the last month of the year|which month comes last=December is the last month of the year.
which days are the weekend|what is the weekend|what days are on the weekend=The weekend is Saturday and Sunday.
what is the shortest month|which month is the shortest|which month has 28 days=February is the shortest month, with 28 days.
tell me a joke|do you know a joke|make me laugh|say something funny|another joke|got any jokes=Why did the token cross the network? To get to the other side of the stream.
write a poem|write me a poem|can you write a short poem|do you know a poem|write a haiku=The sun is warm, the sky is blue, a little bird sings a song for you.
sing a song|sing me a song|sing something=La la la, the stars are bright, the moon is singing to the night.
what time is it|what is the time|do you know the time|what day is it today|what is the date today|what year is it|tell me the date=I do not have a clock or a calendar.
what is the weather like|what is the weather today|will it rain tomorrow|is it raining|how is the weather|weather forecast=I cannot see the weather from inside this model.
""".strip().splitlines()
    )
)
